"""The course of a race: block by block within the time, then final runs on the sealed test rows."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gapbench.bench.advice import arms as arms_of
from gapbench.bench.advice.arms import Arm
from gapbench.bench.advice.blocks import BlockReader, raced_metric
from gapbench.bench.advice.comparisons import FIRST
from gapbench.bench.advice.race import race
from gapbench.bench.advice.state import Rules, State
from gapbench.bench.advice.trimming import RaceBounds, StoredDesign, trim
from gapbench.bench.api.advising.answer import Advice
from gapbench.bench.api.advising.expected_time import ExpectedTime
from gapbench.bench.api.advising.rows import rows
from gapbench.bench.api.outcome import CallOutcome
from gapbench.bench.api.progress import say, span
from gapbench.bench.api.results import Results
from gapbench.bench.api.training import Work, train
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.experiment.suite import PlannedRun
from gapbench.bench.store.store import store_at

FINAL = 1000
"""The first seed of final runs, above those of all blocks, so that no call trains them anew."""
_SLACK = 1.15  # times that are kept back for final runs may be too short by this
_POLL_S = 1.0
_TRIED_AGAIN_S = 60.0


@dataclass
class Course:
    """A race under way.

    Attributes:
        work: what was asked for.
        reader: reads the blocks.
        rules: of the race.
        bounds: what the race has to fit into.
        design: the arms that were asked for, and what was kept of them.
        began: time of `time.monotonic` at which the call began.
        expected: times that runs are expected to take.
        leaked: number of test rows whose texts are among the training rows too.
        exports: whether an adapter of the final runs is wanted, for which they are kept.
        cut: what was left out so that the race fits its time, "" for nothing.
    """

    work: Work
    reader: BlockReader
    rules: Rules
    bounds: RaceBounds
    design: StoredDesign
    began: float
    expected: ExpectedTime
    leaked: int = 0
    exports: bool = False
    cut: str = ""

    @property
    def names(self) -> list[str]:
        """All arms."""
        return [arm.name for arm in self.reader.arms]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of final runs, which no block had."""
        return tuple(range(FINAL, FINAL + self.bounds.seeds))

    def arm(self, name: str) -> Arm:
        """Return an arm by name."""
        return next(arm for arm in self.reader.arms if arm.name == name)

    def state(self) -> State:
        """Replay the race so far."""
        return race(self.names, self.reader.blocks(), self.rules)

    def forecast(self) -> None:
        """Measure what runs take and fit the race into its time, as the same call did before.

        Raises:
            ConfigError: if the first blocks of the arms that must stay do not fit.
        """
        kept = self.design.read()
        say("measuring some steps of each method", progress=self.work.progress)
        if kept is None:
            kept = trim(self.design.wanted, self.expected.forecast, self.bounds)
        self._take(kept)
        self._say_forecast()
        first = self.design.write(self.reader.arms)
        if first != self.reader.arms:  # another call was quicker
            self._take(first)

    def _take(self, kept: Sequence[Arm]) -> None:
        """Race these arms, and say what was left out."""
        self.reader = replace(self.reader, arms=kept)
        self.expected.forecast(kept)
        own, full = (arms[0].cell.budget.epochs for arms in (kept, self.design.wanted))
        gone = [arm.name for arm in self.design.wanted if arm.name not in self.names]
        parts = [] if own == full else [f"runs have {own:g} epochs instead of {full:g}"]
        parts += [f"left out: {', '.join(gone)}"] if gone else []
        self.cut = "; ".join(parts)
        if self.cut:
            say(f"to fit the time, {self.cut}", progress=self.work.progress)

    def _say_forecast(self) -> None:
        """Say what the race takes.

        Raises:
            ConfigError: if the time does not hold the first blocks.
        """
        block = self.expected.of(self.names)
        final = self.bounds.seeds * self.expected.of(self.names[:1])
        count, left = self.rules.folds * self.rules.repeats, self._left()
        say(
            f"{len(self.names)} arms on at most {count} blocks: about {span(block)} for a block "
            f"of all arms, {span(block * count)} for all; final runs of an arm {span(final)}",
            progress=self.work.progress,
        )
        if not self.reader.blocks() and FIRST * block > left:
            budget, gone = (end - self.began for end in (self.bounds.ends, time.monotonic()))
            needed = gone + _SLACK * (FIRST * block + 2 * final)
            raise ConfigError(
                f"--budget {span(budget)}: one block of {len(self.names)} arms takes about "
                f"{span(block)} here, and a race has at least {FIRST}, then final runs; give "
                f"{span(needed)} or more, fewer --arms, or a smaller backbone"
            )

    def race(self) -> tuple[State, CallOutcome]:
        """Run block after block until the race or the time is over."""
        count, outcome = self.rules.folds * self.rules.repeats, CallOutcome()
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
            block = self.expected.of(state.left) * len(numbers)
            if state.blocks >= FIRST and block > self._left() - self._reserve(state):
                break
            began = time.monotonic()
            limit = self._left() - self._reserve(state)
            outcome = self._train(runs, self.reader.store.root, limit)
            if outcome.left:
                break
            if any(not self.reader.done(run) for run in todo):
                if self._left() <= 0:
                    break
                self._wait(todo)
                continue
            took = time.monotonic() - began
            self.expected.update(self.reader.arms)
            if len(todo) == len(runs):
                self.expected.took(took, state.left, len(numbers))
            state = self.state()
            self._tell(state)
        return state, outcome

    def final(self, state: State) -> CallOutcome:
        """Train the winner, the best of each other family left and plain LoRA; score the test.

        Winner and LoRA come first, since the check stands once they have ended.
        """
        contenders, outcome = tuple(self.contenders(state)), CallOutcome()
        needed = {state.winner, self.reference(state)}
        first = tuple(name for name in contenders if name in needed)
        wanted = self.work.wanted
        suite = wanted.suite.model_copy(update={"reference": self.reference(state)})
        self.work = replace(self.work, wanted=replace(wanted, suite=suite))
        folder, keeps = self.work.settings.results, self.exports or self.work.settings.keeps
        for names in dict.fromkeys((first, contenders)):
            runs = [
                PlannedRun(run, self.arm(name).variant)
                for name in names
                for run in self.final_runs(name)
            ]
            outcome = self._train(runs, folder, self._left(), keeps=keeps)
            if outcome.left:
                break
        return outcome

    def final_runs(self, name: str) -> list[Run]:
        """Return the runs of an arm that are scored on the test rows."""
        cell = self.arm(name).on("fixed")
        return [Run(cell, seed) for seed in self.seeds]

    def reference(self, state: State) -> str:
        """Return the arm of LoRA that the race found best; LoRA's default if that is the winner."""
        own = [name for name in self.names if self.arm(name).cell.method == arms_of.REFERENCE]
        known = [name for name in own if name in state.losses]
        if not known:  # all of them failed at once
            return self.rules.reference
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
        reference = self.reference(state)
        return list(dict.fromkeys([*best, *([reference] if reference in state.losses else [])]))

    def advice(self, state: State, results: Results) -> Advice:
        """Return the answer."""
        # Fewer may be planned now than an earlier call in this folder did.
        count = max(self.rules.folds * self.rules.repeats, state.blocks)
        task = self.reader.arms[0].cell.task
        found = rows(self.reader, state, self.rules)
        return Advice(
            suite=self.work.wanted.suite.name,
            task=task.name,
            backbone=self.reader.arms[0].cell.backbone.name,
            metric=raced_metric(task),
            state=state,
            rules=self.rules,
            reference=self.reference(state) if state.losses else self.rules.reference,
            rows=found,
            runs=sum(row.blocks for row in found),
            grid=len(found) * count,
            seconds=time.monotonic() - self.began,
            seconds_left=(count - state.blocks) * self.expected.of(state.left),
            tested=self._tested(state),
            leaked=self.leaked,
            cut=self.cut,
            results=results,
        )

    def _tested(self, state: State) -> dict[str, list[str]]:
        """Return the final runs of arms that all ended, none without winner and reference."""
        if state.winner is None:
            return {}
        store, arms = store_at(self.work.settings.results), self.contenders(state)
        ended = [name for name in arms if not store.unsettled(self.final_runs(name))]
        if not ended or not {state.winner, self.reference(state)} & {*arms} <= {*ended}:
            return {}
        return {name: [run.hash for run in self.final_runs(name)] for name in ended}

    def _left(self) -> float:
        return self.bounds.ends - time.monotonic()

    def _wait(self, runs: Sequence[Run]) -> None:
        """Wait for another process that works on runs; where it is gone, for a minute at most."""
        until = min(time.monotonic() + _TRIED_AGAIN_S, self.bounds.ends)
        store = self.reader.store
        while time.monotonic() < until and any(store.status(run) is None for run in runs):
            time.sleep(_POLL_S)

    def _reserve(self, state: State) -> float:
        """Return the time that final runs take if the race ends now, without a winner none."""
        arms = [] if state.winner is None else self.contenders(state)
        return _SLACK * self.bounds.seeds * self.expected.of(arms)

    def _train(
        self, planned: list[PlannedRun], folder: Path, limit: float, *, keeps: bool = False
    ) -> CallOutcome:
        settings = replace(
            self.work.settings,
            results=folder,
            keeps=keeps,
            budget_s=None if math.isinf(limit) else max(limit, 0.0),
        )
        wanted = replace(self.work.wanted, planned=planned)
        return train(replace(self.work, wanted=wanted, settings=settings))

    def _tell(self, state: State) -> None:
        gone = [each for each in state.out if each.block == state.blocks]
        lines = [f"{each.arm} leaves: {each.reason}" for each in gone]
        if state.left:
            lines += [f"block {state.blocks}: {len(state.left)} arms left, best {state.left[0]}"]
        for line in lines:
            say(line, progress=self.work.progress)
