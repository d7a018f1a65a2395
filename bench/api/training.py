"""Train a suite: execute the missing runs, keep a log and return the outcome."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, Self

from gapbench.bench.adaptation.registry import bound_here
from gapbench.bench.api.choices import DEVICES, RETRYABLE, check_above_zero, names, one_of
from gapbench.bench.api.measuring import measure
from gapbench.bench.api.outcome import CallOutcome
from gapbench.bench.api.planning import Request, request
from gapbench.bench.api.progress import ended_rows, number_of, progress_bar, say
from gapbench.bench.api.results import Results
from gapbench.bench.api.spelled_call import spelled
from gapbench.bench.api.tracking import Tracker
from gapbench.bench.config.run import Run
from gapbench.bench.core import plugins
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.process import choose_device
from gapbench.bench.execution import engines
from gapbench.bench.execution.cost_model import Costs
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.scheduler import GridResult, execute, rounds
from gapbench.bench.store import provenance
from gapbench.bench.store.event_log import EventLog, recorded
from gapbench.bench.store.failure import ENOUGH, left_alone
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.store.typed_command import typed
from gapbench.bench.training.checkpoint import Checkpoints
from gapbench.reports.tables.terminal import label


@dataclass(frozen=True)
class Work:
    """A requested call, and how to do it.

    Attributes:
        name: name of the function that was called.
        command: the words of the command line, or the Python call as text.
        retry: statuses of runs to try again.
        tracker: tracker that gets the runs that end, None for none.
        progress: whether to show progress.
    """

    name: str
    command: Sequence[str] | str
    wanted: Request
    settings: Settings
    retry: tuple[str, ...]
    tracker: Tracker | None
    progress: bool

    @classmethod
    def of(cls, function: Callable[..., Any], given: Mapping[str, Any]) -> Self:
        """Return the work of a call of a function with these arguments.

        Raises:
            ConfigError, DataError, BackboneError: naming the invalid or missing input; nothing
                has been written then.
        """
        engine = engines.find(one_of("engine", given["engine"], engines.names()))
        device = one_of("device", given["device"], DEVICES)
        if engine.HERE:  # the computers of a cluster have their own devices
            choose_device(device)
        check_above_zero(given, "stack", "workers")
        check_above_zero(given, "time_budget", "checkpoint_minutes", whole=False)
        retry = tuple(
            one_of("retry", status, RETRYABLE) for status in names("retry", given["retry"])
        )
        part = {name: given[name] for name in signature(request).parameters}
        wanted = request(**part)
        settings = Settings(
            results=Path(given["results"]),
            sources=wanted.sources,
            device=device,
            stack=given["stack"],
            workers=_workers(wanted, given),
            engine=given["engine"],
            budget_s=given.get("time_budget"),
            checkpoint_minutes=given["checkpoint_minutes"],
            predictions=wanted.suite.predictions,
            keeps=wanted.suite.keep == "checkpoint",
        )
        tracker = Tracker(given["track"], settings.results) if given["track"] else None
        command = given["command"] or spelled(function, given)
        return cls(function.__name__, command, wanted, settings, retry, tracker, given["progress"])

    def recorded(self, work: "Callable[[Work], CallOutcome]") -> Results:
        """Do the work and keep a log of it; return the results folder."""
        outcomes = list[CallOutcome]()
        results = self.settings.results

        def keep(event_log: EventLog) -> int:
            told = replace(self, settings=replace(self.settings, event_log=event_log))
            outcomes.append(work(told))
            return outcomes[0].code

        recorded(store_at(results), self.name, self.command, keep)
        if isinstance(self.command, str):  # the command line tells them below the leaderboard
            for message in outcomes[0].messages:
                say(message, progress=self.progress)
        return Results(results, outcomes[0])

    @property
    def repeated_by(self) -> str:
        """The command that repeats this call, as stored in plans: without its retries."""
        if isinstance(self.command, str):
            return typed(self.command)
        kept: list[str] = []
        words = iter(self.command)
        for word in words:
            flag, given, _ = word.partition("=")
            if len(flag) > len("--re") and "--retry".startswith(flag):  # as argparse takes it
                if not given:
                    next(words)
                continue
            kept.append(word)
        return typed(kept)


def train(work: Work) -> CallOutcome:
    """Execute the missing runs of a suite and return the outcome."""
    wanted, settings, runs = work.wanted, work.settings, work.wanted.runs
    store = store_at(settings.results)
    rows = [(entry.run, entry.variant) for entry in wanted.planned]
    store.write_plan(wanted.suite.name, rows, work.repeated_by, wanted.suite.reference)
    unsettled = store.unsettled(runs)
    alone = {r.hash for r in store.recorded(unsettled) if left_alone(store.find(r), work.retry)}
    todo = [run for run in unsettled if run.hash not in alone]
    Checkpoints(store, choose_device("cpu")).clear()
    done_before = f"{len(runs)} runs, {len(runs) - len(unsettled)} done before"
    say(done_before, progress=work.progress)
    left = {run.hash for run in unsettled}
    settled = [run for run in runs if run.hash not in left]
    for line in _of_other_code(settled, store):
        say(line)  # in any case: their numbers stand for other code
    if alone:
        say(
            f"{len(alone)} of them failed {ENOUGH} times in the same way and are skipped; "
            "--retry with their statuses tries them again, see gapbench status",
            progress=work.progress,
        )
    seeds_done = Counter(run.cell.hash for run in settled)
    done = _executed(todo, seeds_done, store, work) if todo else GridResult()
    return _outcome(wanted.suite.name, runs, store, done)


def _of_other_code(settled: Sequence[Run], store: Store) -> Iterator[str]:
    """Yield a line for each method of this process whose finished runs other code of it made."""
    here = provenance.code_hash()
    found = (store.find(run) for run in settled if run.cell.method in plugins.registered)
    old = Counter(r.cell.method for r in found if r and r.provenance.code_hash != here)
    for method, count in old.items():
        yield (
            f"{number_of(count, 'finished run')} of {method} stay, which other code made; to run "
            "the new code, give the method another name, or another results folder"
        )


def _executed(
    todo: Sequence[Run], seeds_done: Mapping[str, int], store: Store, work: Work
) -> GridResult:
    names = {
        entry.run.hash: label(entry.run.cell.method, entry.variant) for entry in work.wanted.planned
    }
    costs, settings = _measured(todo, seeds_done, store, work)
    with progress_bar(len(todo), " runs", progress=work.progress) as bar:

        def show(done: float, statuses: Counter[Status]) -> None:
            not_ok = {s.value: n for s, n in statuses.items() if s != Status.OK}
            bar.set_postfix(not_ok, refresh=False)
            bar.update(done - bar.n)

        def tell(runs: Sequence[Run], statuses: Mapping[str, Status]) -> None:
            found = [store.find(run) for run in runs if run.hash in statuses]
            records = [record for record in found if record is not None]
            for line in ended_rows(records, names) if work.progress else ():
                bar.write(line, file=sys.stderr)
            if work.tracker:
                work.tracker.try_to_send(store, records)

        return execute(todo, settings, show, tell, seeds_done, costs)


def _measured(
    todo: Sequence[Run], seeds_done: Mapping[str, int], store: Store, work: Work
) -> tuple[Costs, Settings]:
    """Return the costs of runs, and the settings with the time that is left once these are known.

    Where time is limited, kinds of run that no record tells of are measured first: only then is it
    known what is cheap, and what fits.
    """
    settings, began = work.settings, time.monotonic()
    costs = Costs.measured(store, settings.sources)
    if settings.budget_s is None or not settings.here:
        return costs, settings
    first, *_ = rounds(todo, seeds_done)
    budget_s, device = settings.budget_s, settings.device
    measure(costs, first, device, progress=work.progress, memory=False, budget_s=budget_s)
    left_s = max(0.0, budget_s - (time.monotonic() - began))
    return costs, replace(settings, budget_s=left_s)


def _outcome(suite: str, runs: Sequence[Run], store: Store, done: GridResult) -> CallOutcome:
    """Return the outcome of every run."""
    failures, missing = [], 0
    for run in runs:
        status = store.status(run)
        record = None if status in {None, Status.OK, Status.SKIPPED} else store.find(run)
        missing += status is None
        if record is not None:
            failures.append((str(status), str(run), record.cause))
    return CallOutcome(
        suite=suite,
        runs=len(runs),
        now={status.value: count for status, count in done.statuses.items()},
        left=done.left,
        seconds_left=done.seconds_left,
        elsewhere=0 if done.left else missing,
        failures=tuple(failures),
    )


def _workers(wanted: Request, given: Mapping[str, Any]) -> int | None:
    """Return the number of workers of a call, or 1 if methods cannot reach other processes.

    Raises:
        ConfigError: if the engine only has other processes.
    """
    workers: int | None = given["workers"]
    here = bound_here({run.cell.method for run in wanted.runs})
    if not here:
        return workers
    why = (
        f"method {here[0]!r} is defined in a notebook or inside a function, from where no other "
        "process can import it"
    )
    if not engines.find(given["engine"]).HERE:
        raise ConfigError(f"engine {given['engine']!r}: {why}; put its class into a module")
    if workers not in {None, 1}:
        say(f"{why}: all runs are done in this process", progress=given["progress"])
    return 1
