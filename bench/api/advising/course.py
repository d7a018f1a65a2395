"""The course of a race: block by block within the time, then final runs on the sealed test rows."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gapbench.bench.advice import arms as arms_of
from gapbench.bench.advice.arms import Arm
from gapbench.bench.advice.blocks import Reader, raced_metric
from gapbench.bench.advice.race import FIRST, Rules, State, race, relative_cost
from gapbench.bench.api.advising.answer import Advice, Row, score_of
from gapbench.bench.api.outcome import CallOutcome
from gapbench.bench.api.progress import say, span
from gapbench.bench.api.results import Results
from gapbench.bench.api.training import Work, train
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.process import choose_device
from gapbench.bench.execution.calibration import calibrate
from gapbench.bench.execution.cost_model import Costs
from gapbench.bench.experiment.suite import PlannedRun
from gapbench.bench.store.store import store_at

SEEDS = 5
"""Final runs of each arm, with seeds that no block had."""
_POLL_S = 1.0
_TRIED_AGAIN_S = 60.0


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
        self._measure(by_steps=True)
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
                self._wait(todo)
                continue
            took = time.monotonic() - began
            self._measure()
            summed = sum(self.seconds[name] for name in state.left) * len(numbers)
            if len(todo) == len(runs) and summed:
                self.wall = took / summed
            state = self.state()
            self._tell(state)
        return state, outcome

    def final(self, state: State) -> CallOutcome:
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

    def _wait(self, runs: Sequence[Run]) -> None:
        """Wait for another process that works on runs; where it is gone, for a minute at most."""
        until = min(time.monotonic() + _TRIED_AGAIN_S, self.ends)
        store = self.reader.store
        while time.monotonic() < until and any(store.status(run) is None for run in runs):
            time.sleep(_POLL_S)

    def _measure(self, *, by_steps: bool = False) -> None:
        """Take the seconds of runs from records, and at first from a few steps of a run."""
        settings = self.work.settings
        costs = Costs.measured(self.reader.store, settings.sources)
        if by_steps:
            device = settings.device if settings.engine == "local" else "cpu"
            calibrate(costs, [*self.reader.runs(0, self.names).values()], choose_device(device))
        found = {arm.name: costs.seconds(arm.cell) for arm in self.reader.arms}
        known = {name: each for name, each in found.items() if each is not None}
        usual = sum(known.values()) / len(known) if known else 0.0
        self.seconds = {name: known.get(name, self.seconds.get(name, usual)) for name in found}

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
    ) -> CallOutcome:
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
