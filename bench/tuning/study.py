"""One study in its storage: asking for trials and telling their results, each exactly once.

Trials are asked for in waves, and only after all earlier trials have been told. A trial thus
depends only on the study, not on its execution: neither on the size of stacks, nor on the number
of processes, nor on where one was killed. (Pruning between runs and a budget in seconds depend on
time by nature.)

Everything happens under one file lock, and the size of a wave is stored before its trials are asked
for: after a killed process, the next one finds the whole wave or completes it.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as State

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import StoreError
from gapbench.bench.core.files import lock
from gapbench.bench.core.seeding import seed_of
from gapbench.bench.store.failure import ENOUGH, left_alone
from gapbench.bench.store.record import CurvePoint, Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.tuning import analysis, budget, samplers, summary
from gapbench.bench.tuning.schema import ON_SEEDS, StudyFile, TrialRow, TrialState
from gapbench.bench.tuning.space import START, distribution, start_points
from gapbench.bench.tuning.study_plan import StudyPlan
from gapbench.bench.tuning.trials import finished_row

_ROW, _WAVE, _SPACE = "gapbench", "gapbench-wave", "gapbench-space"
_TOLD = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAILED: State.FAIL,
}


class Session:
    """A study in the hands of one process."""

    def __init__(self, plan: StudyPlan, storage: BaseStorage, store: Store) -> None:
        """Open or create the study.

        Raises:
            StoreError: if it was made with another space.
        """
        self.plan = plan
        self._storage = storage
        self.store = store
        self._lock = lock(store.lock_path(f"study-{plan.name}"))
        self._distributions = {name: distribution(d) for name, d in plan.space.items()}
        self._ids: dict[str, int] = {}  # id of the trial, by run hash
        self._failures: dict[str, set[datetime]] = {}  # when attempts that failed began, likewise
        with self._lock:
            better = {"score": plan.direction, "ece": "minimize", "gap": "minimize"}
            self._study = optuna.create_study(
                study_name=plan.name,
                storage=storage,
                directions=[better[name] for name in plan.search.objectives],
                pruner=_pruner(plan),
                load_if_exists=True,
            )
            with samplers.experiments_allowed():  # names that the dashboard shows
                self._study.set_metric_names(list(plan.search.objectives))
            self._check_space()

    def _check_space(self) -> None:
        space = {name: d.model_dump(mode="json") for name, d in self.plan.space.items()}
        stored = self._study.user_attrs.get(_SPACE)
        if stored is None:
            self._study.set_user_attr(_SPACE, space)
        elif stored != space:
            changed = sorted(n for n in {*space, *stored} if space.get(n) != stored.get(n))
            raise StoreError(
                f"study {self.plan.name!r} was made with another space: {', '.join(changed)} "
                "differ; keep it and start a new search with another --storage URL or --seed N"
            )

    def advance(self) -> list[Run]:
        """Tell finished trials, ask for new ones within the budget, and return the runs to do.

        Returns:
            Runs of open trials that have no record; other processes may hold them. If there are
            none, the study is finished.
        """
        with self._lock:
            while True:
                self._tell()
                if not self._running():
                    self._begin_wave()
                self._fill_wave()
                running = self._running()
                missing = [run for trial in running for run in self._missing(trial)]
                if missing or not running:
                    return missing
                # All records exist, for example because the storage was lost: tell them.

    def rows(self) -> list[TrialRow]:
        """Return all trials."""
        return [self._row(trial) for trial in self._trials()]

    def shares(self) -> tuple[float, float]:
        """Return the share of the budget spent, without and with running trials."""
        limit, rows = self.plan.limit, self.rows()
        told = [row for row in rows if row.state != TrialState.RUNNING]
        without, full = (budget.spent(limit, part, self.plan.each) for part in (told, rows))
        return min(1.0, without / limit.amount), min(1.0, full / limit.amount)

    def publish(self, folder: Path) -> StudyFile:
        """Write the current study and its analysis into a folder.

        Scores over the suite's seeds stay known as long as the same trial is the best.
        """
        with self._lock:
            file = self.file()
            before = summary.read(folder)
            if before is not None and _winner(before) == _winner(file):
                file = file.model_copy(update={name: getattr(before, name) for name in ON_SEEDS})
            analysis.write(folder, file)
        return file

    def file(self) -> StudyFile:
        """Return the current study."""
        plan, rows = self.plan, self.rows()
        cell, limit = plan.base, plan.limit
        return StudyFile(
            name=plan.name,
            suite=plan.suite,
            task=cell.task.name,
            backbone=cell.backbone.name,
            start=cell.start.name if cell.start else "",
            cell_hash=cell.hash,
            method=cell.method,
            variant=plan.variant,
            metric=plan.metric,
            direction=plan.direction,
            objectives=plan.search.objectives,
            space=dict(plan.space),
            budget=limit,
            spent=budget.spent(limit, rows, plan.each),
            plain_examples=plan.plain,
            pruner=plan.search.pruner,
            sampler=plan.search.sampler,
            best_number=best(plan, rows),
            front=tuple(trial.number for trial in self._study.best_trials),
            trials=tuple(rows),
        )

    def prune(self, run: Run, curve: Sequence[CurvePoint]) -> str | None:
        """Report an evaluation of a run; return a reason to end it, or None.

        The trial of the method's own settings never ends early: the winner must not be worse.
        """
        value = curve[-1].validation_score
        if self.plan.search.pruner != "asha" or value is None:
            return None
        trial_id = self._ids[run.hash]
        # Evaluations are counted from 1: steps would make the halving jump over many rungs.
        place = len(curve) - 1
        value = value if self.plan.alike else -value
        self._storage.set_trial_intermediate_value(trial_id, place, value)
        trial = self._storage.get_trial(trial_id)
        if trial.number == 0 or not self._study.pruner.prune(self._study, trial):
            return None
        return f"not among the best at step {curve[-1].step}"

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state == State.RUNNING]

    def _row(self, trial: FrozenTrial) -> TrialRow:
        if _ROW in trial.user_attrs:
            return TrialRow.model_validate(trial.user_attrs[_ROW])
        number = trial.number
        return TrialRow(
            number=number,
            state=TrialState.RUNNING,
            origin="default" if number == 0 else "quasi-random" if number < START else "sampler",
            params=dict(trial.params),
            seeds=self.plan.search.seeds,
        )

    def _known(self, trial: FrozenTrial) -> list[tuple[Run, Record | None]]:
        """Return each run of a trial with its record, None where an attempt is open."""
        runs = self.plan.runs(trial.params)
        self._ids.update({run.hash: trial._trial_id for run in runs})
        found = [(run, self.store.find(run)) for run in runs]
        return [(run, None if self._is_open(run, record) else record) for run, record in found]

    def _is_open(self, run: Run, record: Record | None) -> bool:
        """Whether a run is to be attempted; this session does so twice at most if it fails."""
        if record is None or record.status == Status.INTERRUPTED:
            return True
        if record.status.settled:
            return False
        seen = self._failures.setdefault(run.hash, set())
        seen.add(record.provenance.started_at)
        return len(seen) < ENOUGH and not left_alone(record)

    def _missing(self, trial: FrozenTrial) -> list[Run]:
        """Return the next runs of a trial: all of them, or the one that decides."""
        missing = [run for run, record in self._known(trial) if record is None]
        return missing[:1] if self.plan.search.pruner == "wilcoxon" else missing

    def _tell(self) -> None:
        for trial in self._running():
            if len(trial.params) < len(self._distributions):
                continue  # its process was killed while asking
            records = [record for _, record in self._known(trial) if record is not None]
            whole = len(records) == len(self.plan.search.seeds)
            failed = any(record.status != Status.OK for record in records)
            if not (whole or failed or self._outdone(trial, records)):
                continue
            row = finished_row(self.plan, self._row(trial), records)
            self._storage.set_trial_user_attr(
                trial._trial_id, _ROW, row.model_dump(mode="json", exclude_defaults=True)
            )
            values = list(row.values) if row.state == TrialState.COMPLETE else None
            # A sampler that is not told of failures would draw again where training diverges.
            diverged = row.status == Status.DIVERGED
            state = State.PRUNED if diverged else _TOLD[row.state]
            self._study.tell(trial.number, values, state)

    def _outdone(self, trial: FrozenTrial, records: list[Record]) -> bool:
        """Whether the seeds so far show that a trial is worse than the best one."""
        if self.plan.search.pruner != "wilcoxon":
            return False
        for place, record in enumerate(records):
            value = record.score("validation", self.plan.metric)
            if value is not None and place not in trial.intermediate_values:
                self._storage.set_trial_intermediate_value(trial._trial_id, place, value)
        now = self._storage.get_trial(trial._trial_id)
        return trial.number > 0 and self._study.pruner.prune(self._study, now)

    def _begin_wave(self) -> None:
        """Store the number of trials in the next wave."""
        rows = self.rows()
        first, size = self._study.user_attrs.get(_WAVE, (0, 0))
        if len(rows) < first + size:
            return  # the wave was begun, but its process was killed
        fits = registry.get(self.plan.base.method).fits_on  # whose passes no plan foresees
        size = budget.wave(self.plan.limit, rows, self.plan.each, known=not fits)
        if len(rows) < START:  # the sampler learns from all of these
            size = min(size, START - len(rows))
        if size:
            self._study.set_user_attr(_WAVE, [len(rows), size])

    def _fill_wave(self) -> None:
        first, size = self._study.user_attrs.get(_WAVE, (0, 0))
        trials = self._trials()
        for trial in trials[first:]:
            if trial.state == State.RUNNING and len(trial.params) < len(self._distributions):
                self._study.sampler = self._sampler(trial.number)
                begun = optuna.trial.Trial(self._study, trial._trial_id)
                for name, drawn in self._distributions.items():
                    begun._suggest(name, drawn)  # its process was killed before this
        for number in range(len(trials), first + size):
            self._study.sampler = self._sampler(number)
            self._study.ask(self._distributions)

    def _sampler(self, number: int) -> BaseSampler:
        """Return the sampler of one trial: the same in every process."""
        if number < START:
            point = start_points(self.plan.space, self.plan.search.seed)[number]
            return samplers.given(point)
        seed = seed_of("sampler", self.plan.name, number) % 2**32
        return samplers.sampler(self.plan.search.sampler, seed)


def _winner(file: StudyFile) -> object:
    """Return what decides which runs the winner and the default have on the suite's seeds."""
    chosen = next((trial for trial in file.trials if trial.number == file.best_number), None)
    return chosen and (chosen.number, chosen.params, file.space)


def best(plan: StudyPlan, rows: list[TrialRow]) -> int | None:
    """Return the complete trial with the best score, ties broken by later objectives, then age."""
    sign = -1 if plan.direction == "maximize" else 1
    complete = [row for row in rows if row.state == TrialState.COMPLETE]
    losses = [(sign * row.values[0], *row.values[1:], row.number) for row in complete]
    return int(min(losses)[-1]) if losses else None


def _pruner(plan: StudyPlan) -> BasePruner:
    if plan.search.pruner == "asha":
        points = plan.base.budget.evaluations
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=2 if points < 9 else 3)
    if plan.search.pruner == "wilcoxon":
        with samplers.experiments_allowed():
            return WilcoxonPruner()
    return NopPruner()
