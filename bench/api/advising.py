"""The work of `advise`: arms, a race block by block, and final runs on the sealed test rows."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from gapbench.bench.adaptation import registry
from gapbench.bench.advice import arms as arms_of
from gapbench.bench.advice.arms import Arm, design
from gapbench.bench.advice.blocks import Reader, raced_metric
from gapbench.bench.advice.race import FIRST, Rules, State, race, relative_cost
from gapbench.bench.api.advice import Advice, Row, score_of
from gapbench.bench.api.advise import advise
from gapbench.bench.api.choices import check_above_zero, names
from gapbench.bench.api.outcome import Outcome
from gapbench.bench.api.progress import say, span
from gapbench.bench.api.results import Results
from gapbench.bench.api.training import Work, train
from gapbench.bench.config.run import Folds, Run
from gapbench.bench.core.errors import ConfigError, DataError, MergeError, StoreError
from gapbench.bench.core.process import choose_device
from gapbench.bench.data import readers
from gapbench.bench.execution.calibration import calibrate
from gapbench.bench.execution.cost_model import Costs, cost_key
from gapbench.bench.execution.export import export
from gapbench.bench.experiment import scaffold
from gapbench.bench.experiment.suite import PlannedRun
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.store import store_at

FEWEST_ROWS = 50
MATTERS = 0.01
"""Difference that matters if the user names none, as a share of the best possible score."""
SEEDS = 5
"""Final runs of each arm, with seeds that no block had."""
RACE = "race"
_POLL_S = 1.0


def advised(given: Mapping[str, Any]) -> Advice:
    """Do the work of a call of `advise`."""
    check_above_zero(given, "arms", "folds", "repeats")
    check_above_zero(
        given, "budget", "matters", "at_most_cost", "at_most_ece", "at_most_seconds", whole=False
    )
    began = time.monotonic()
    work = _work(given)
    course = _course(work, given, began)
    course.forecast()
    ended = list[State]()

    def do(told: Work) -> Outcome:
        course.work = told
        state, raced = course.race()
        ended.append(state)
        final = course.final(state) if state.winner is not None else Outcome()
        return final if final.runs else raced

    results, settings = work.recorded(do), work.settings
    advice = course.advice(ended[0], results)
    page = advice.write(settings.results)
    say(f"page: {page}", progress=work.progress)
    if given["export"] is not None and advice.final:
        best = course.arm(advice.winner)
        run = Run(best.on("fixed"), course.seeds[0])
        try:
            exported = export(
                store_at(settings.results),
                run.hash,
                settings.sources,
                settings.device,
                Path(given["export"]),
            )
        except (MergeError, StoreError) as error:  # the answer stands without an adapter
            say(f"no adapter: {error}")
        else:
            say(repr(exported), progress=work.progress)
    return advice


@dataclass
class Course:
    """A race under way.

    Attributes:
        work: what was asked for.
        reader: reads the blocks.
        rules: of the race.
        ends: time of `time.monotonic` at which the budget ends.
        seconds: expected seconds of a run, by arm.
        wall: wall time of the race per expected second.
    """

    work: Work
    reader: Reader
    rules: Rules
    ends: float
    began: float
    seconds: dict[str, float] = field(default_factory=dict)
    wall: float = 1.0

    @property
    def names(self) -> list[str]:
        """All arms."""
        return [arm.name for arm in self.reader.arms]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of final runs."""
        first = self.rules.folds * self.rules.repeats
        return tuple(range(first, first + SEEDS))

    def arm(self, name: str) -> Arm:
        """Return an arm by name."""
        return next(arm for arm in self.reader.arms if arm.name == name)

    def state(self) -> State:
        """Replay the race so far."""
        return race(self.names, self.reader.blocks(), self.rules)

    def forecast(self) -> None:
        """Measure what runs take; say so, and refuse a budget that is too small.

        Raises:
            ConfigError: if the budget does not hold the first blocks and the final runs.
        """
        self._measure()
        block, final = self._seconds(self.names), self._final_seconds(self.names[:1])
        count = self.rules.folds * self.rules.repeats
        say(
            f"{len(self.names)} arms on at most {count} blocks: about {span(block)} for a block "
            f"of all arms, {span(block * count)} for all; final runs of an arm {span(final)}",
            progress=self.work.progress,
        )
        fresh = not self.reader.blocks()
        if fresh and block > self.ends - time.monotonic():
            raise ConfigError(
                f"--budget {span(self.ends - self.began)}: one block of {len(self.names)} arms "
                f"takes about {span(block)} here, and a race at least {FIRST}; give "
                f"{span(3 * FIRST * block)} or more, fewer --arms, or a smaller backbone"
            )

    def race(self) -> tuple[State, Outcome]:
        """Run block after block until the race or the time is over."""
        count, outcome = self.rules.folds * self.rules.repeats, Outcome()
        state = self.state()
        while not state.over and state.blocks < count:
            # No arm can be beaten before the first blocks are done, so they go together.
            until = max(FIRST, state.blocks + 1)
            numbers = range(state.blocks, until)
            runs = [
                PlannedRun(run, self.arm(name).variant)
                for number in numbers
                for name, run in self.reader.runs(number, state.left).items()
            ]
            todo = [each.run for each in runs if not self.reader.done(each.run)]
            expected = self._seconds(state.left) * len(numbers)
            if state.blocks >= FIRST and expected > self._left() - self._reserve(state):
                break
            began = time.monotonic()
            limit = self._left() - self._reserve(state)
            outcome = self._train(runs, self.reader.store.root, limit, sealed=True)
            if outcome.left:
                break
            if any(not self.reader.done(run) for run in todo):
                if self._left() <= 0:
                    break
                time.sleep(_POLL_S)  # another process works on them
                continue
            if len(todo) == len(runs) and expected:
                self.wall *= (time.monotonic() - began) / expected
            self._measure()
            state = self.state()
            self._tell(state)
        return state, outcome

    def final(self, state: State) -> Outcome:
        """Train the winner, the best of each other family left and plain LoRA; score the test."""
        runs = [
            PlannedRun(Run(self.arm(name).on("fixed"), seed), self.arm(name).variant)
            for name in self.contenders(state)
            for seed in self.seeds
        ]
        wanted = self.work.wanted
        suite = wanted.suite.model_copy(update={"reference": self.reference(state)})
        self.work = replace(self.work, wanted=replace(wanted, suite=suite))
        return self._train(runs, self.work.settings.results, self._left(), sealed=False)

    def reference(self, state: State) -> str:
        """Return the arm of LoRA that the race found best; LoRA's default if that is the winner."""
        own = [name for name in self.names if self.arm(name).cell.method == arms_of.REFERENCE]
        known = [name for name in own if name in state.losses]
        # An arm that left early has a mean of few blocks, so those that stayed come first.
        best = min(known, key=lambda name: (name not in state.left, state.losses[name]))
        return own[0] if best == state.winner else best

    def contenders(self, state: State) -> list[str]:
        """Return the arms that are scored on test: the winner first, then the best of families."""
        assert state.winner is not None  # noqa: S101 - the caller has looked
        best = {state.winner: self.arm(state.winner).cell.method}
        for name in state.left:
            if self.arm(name).cell.method not in best.values():
                best[name] = self.arm(name).cell.method
        return list(dict.fromkeys([*best, self.reference(state)]))

    def advice(self, state: State, results: Results) -> Advice:
        """Return the answer."""
        blocks, store = self.reader.blocks(), store_at(self.work.settings.results)
        final = state.winner is not None and not store.unsettled(
            [
                Run(self.arm(name).on("fixed"), seed)
                for name in self.contenders(state)
                for seed in self.seeds
            ]
        )
        count = self.rules.folds * self.rules.repeats
        task = self.reader.arms[0].cell.task
        gone = {departure.arm: departure for departure in state.out}
        rows = [
            Row.of(
                arm.name,
                arm.cell,
                self.reader.records(arm.name, state.blocks),
                score_of(state.losses.get(arm.name), raced_metric(task)),
                relative_cost(arm.name, blocks, self.rules.reference),
                gone.get(arm.name),
            )
            for arm in self.reader.arms
        ]
        return Advice(
            suite=self.work.wanted.suite.name,
            task=task.name,
            backbone=self.reader.arms[0].cell.backbone.name,
            metric=raced_metric(task),
            state=state,
            rules=self.rules,
            reference=self.reference(state) if state.losses else self.rules.reference,
            rows=rows,
            runs=sum(len(block.losses) + len(block.failed) for block in blocks),
            grid=len(rows) * count,
            seconds=time.monotonic() - self.began,
            seconds_left=(count - state.blocks) * self._seconds(state.left),
            final=final,
            results=results,
        )

    def _left(self) -> float:
        return self.ends - time.monotonic()

    def _measure(self) -> None:
        """Take the seconds of runs from records, or from a few steps of a run."""
        settings = self.work.settings
        costs = Costs.measured(self.reader.store, settings.sources)
        runs = [*self.reader.runs(0, self.names).values()]
        calibrate(
            costs, runs, choose_device(settings.device if settings.engine == "local" else "cpu")
        )
        known = costs.seconds.values()
        usual = sum(known) / len(known) if known else 0.0
        self.seconds = {
            arm.name: costs.seconds.get(cost_key(arm.cell), usual) for arm in self.reader.arms
        }

    def _seconds(self, arms: Sequence[str]) -> float:
        """Return the expected wall time of a block of some arms."""
        return self.wall * sum(self.seconds[name] for name in arms)

    def _final_seconds(self, arms: Sequence[str]) -> float:
        return self._seconds(arms) * SEEDS

    def _reserve(self, state: State) -> float:
        """Return the time that final runs take if the race ends now."""
        return self._final_seconds(self.contenders(state)) if state.winner is not None else 0.0

    def _train(
        self, planned: list[PlannedRun], folder: Path, limit: float, *, sealed: bool
    ) -> Outcome:
        settings = replace(
            self.work.settings,
            results=folder,
            sealed=sealed,
            predictions="all",
            budget_s=None if math.isinf(limit) else max(limit, 0.0),
        )
        wanted = replace(self.work.wanted, planned=planned)
        return train(replace(self.work, wanted=wanted, settings=settings))

    def _tell(self, state: State) -> None:
        gone = [each for each in state.out if each.block == state.blocks]
        lines = [f"{each.arm} leaves: {each.reason}" for each in gone]
        lines.append(f"block {state.blocks}: {len(state.left)} arms left, best {state.left[0]}")
        for line in lines if state.left else lines[:-1]:
            say(line, progress=self.work.progress)


def _work(given: Mapping[str, Any]) -> Work:
    """Return the call with one cell for each method, on one task and backbone."""
    chosen = dict(given)
    if given["text"] is not None:
        chosen["source"] = _own_suite(given)
        chosen["methods"] = chosen["backbone"] = chosen["tasks"] = chosen["data"] = None
    elif isinstance(given["source"], pd.DataFrame) or given["label"] or given["target"]:
        raise ConfigError("text: name the columns that the model reads")
    chosen |= {"suite": chosen.pop("source"), "seeds": None, "stack": None, "retry": None}
    chosen["time_budget"] = given["budget"]
    work = Work.of(advise, chosen)
    methods = dict.fromkeys(each.run.cell for each in work.wanted.planned)
    tasks = {cell.task.name for cell in methods}
    places = {cell.backbone.name for cell in methods}
    if len(tasks) > 1 or len(places) > 1:
        raise ConfigError(
            f"suite {work.wanted.suite.name!r} has tasks {', '.join(sorted(tasks))} on backbones "
            f"{', '.join(sorted(places))}; pick one of each with --tasks and --backbone"
        )
    return work


def _own_suite(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the suite of a user's own rows.

    Raises:
        ConfigError, DataError: if the rows cannot be advised on.
    """
    if (given["label"] is None) == (given["target"] is None):
        raise ConfigError("give one of --label and --target: the column to predict or to generate")
    columns = scaffold.Columns(
        text=names("text", given["text"]),
        label=given["target"] or given["label"],
        option="target" if given["target"] else "label",
        kind=given["kind"],
        group=given["group"],
    )
    train = _file(given["source"], Path(given["results"]))
    test = None if given["test"] is None else Path(given["test"])
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", train.stem).lstrip("_.-") or "rows"
    found = scaffold.infer(Path.cwd() / f"{name}.yaml", train, test, columns)
    rows = sum(found.sizes.values())
    if rows < FEWEST_ROWS:
        raise DataError(
            f"{train}: {rows} rows; fewer than {FEWEST_ROWS} tell no settings apart, so there is "
            "nothing to advise; give more rows, or train plain LoRA with its defaults"
        )
    _refuse_empty(train, columns.text)
    say(found.look, progress=given["progress"])
    backbone = None if given["backbone"] is None else str(given["backbone"])
    wanted = names("methods", given["methods"]) or arms_of.METHODS
    return scaffold.suite_settings(found, backbone) | {
        "tasks": [found.task],
        "methods": list(dict.fromkeys([arms_of.REFERENCE, *wanted])),
    }


def _file(source: Any, results: Path) -> Path:
    """Return the file of rows; a data frame is written to the results folder."""
    if not isinstance(source, pd.DataFrame):
        return Path(source)
    path = store_at(results).root / "rows.parquet"
    source.to_parquet(path, index=False)
    return path


def _refuse_empty(path: Path, columns: Sequence[str]) -> None:
    """Refuse a file in which half of the texts or more are empty.

    Raises:
        DataError: naming the column.
    """
    table = readers.read(path, columns)
    for name in columns:
        empty = [row for row, value in enumerate(table[name]) if not str(value or "").strip()]
        if 2 * len(empty) >= len(table[name]):
            raise DataError(
                f"{path}: column {name!r} has no text in {len(empty)} of {len(table[name])} rows, "
                f"first in row {empty[0]}; name another column with --text, or remove these rows"
            )


def _course(work: Work, given: Mapping[str, Any], began: float) -> Course:
    """Lay out the race."""
    cells = {each.run.cell: each.variant for each in work.wanted.planned}
    named = [Arm(cell, variant) for cell, variant in cells.items()]
    if given["methods"] is None:  # a suite may hold rows that train nothing
        named = [arm for arm in named if registry.get(arm.cell.method).trains]
    arms = design(named, given["arms"])
    task = arms[0].cell.task
    metric = get_metric(raced_metric(task))
    best = metric.range[1] if metric.higher_is_better else math.inf
    margin = given["matters"] or MATTERS * best
    if math.isinf(margin):
        raise ConfigError(
            f"--matters: metric {metric.name!r} of task {task.name!r} has no best score, so the "
            "least difference that matters must be given"
        )
    rules = Rules(
        margin=margin,
        folds=given["folds"],
        reference=arms[0].name,
        repeats=given["repeats"],
        most_cost=given["at_most_cost"],
        most_seconds=given["at_most_seconds"],
        most_ece=given["at_most_ece"],
    )
    store = store_at(work.settings.results / RACE)
    reader = Reader(store, arms, Folds(folds=given["folds"]))
    ends = math.inf if given["budget"] is None else began + given["budget"]
    return Course(work, reader, rules, ends, began)
