"""A study: which trials it asks for, what they cost, what is told of them, and who wins."""

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import StoreError
from gapbench.bench.store.record import CurvePoint, Status
from gapbench.bench.store.store import store_at
from gapbench.bench.tuning import analysis
from gapbench.bench.tuning.schema import Limit, TrialState
from gapbench.bench.tuning.space import START
from gapbench.bench.tuning.study import Session
from gapbench.bench.tuning.study_plan import StudyPlan
from tests.support.planted_study import (
    SPACE,
    STEPS,
    bowl,
    carry_out,
    cost,
    plan,
    planted,
    scored,
    session,
)
from tests.support.small_suite import blank


def test_planted_optimum_is_found(tmp_path: Path) -> None:
    """Within 40 trials the sampler comes nearer to the optimum than spread points do, and near."""
    opened = session(plan(40), tmp_path)
    carry_out(opened)
    file = opened.file()
    scores = [trial.validation_score for trial in file.trials]
    assert file.best_number is not None
    best = file.trials[file.best_number]
    assert best.number >= START
    assert best.validation_score == max(score for score in scores if score is not None)
    assert best.validation_score is not None
    assert best.validation_score > -0.15
    assert abs(math.log10(float(best.params["learning_rate"] or 0)) + 2.5) < 0.4


def test_first_trial_is_the_default_so_the_winner_is_never_worse(tmp_path: Path) -> None:
    """Trial 0 has the method's own settings; where they are best, they win."""
    opened = session(plan(16), tmp_path)
    default = {name: dimension.default for name, dimension in SPACE.items()}

    def evaluate(run: Run) -> dict[str, Any]:
        return scored(run, float(run.cell.hash == opened.plan.base.hash))

    carry_out(opened, evaluate)
    file = opened.file()
    assert file.trials[0].params == default
    assert [trial.origin for trial in file.trials] == (
        ["default"] + ["quasi-random"] * (START - 1) + ["sampler"] * 8
    )
    assert file.best_number == file.default_number == 0


def test_same_seed_asks_for_the_same_trials_and_another_for_others(tmp_path: Path) -> None:
    """Trials are a function of study and seed."""
    found = []
    for number, seed in enumerate((0, 0, 1)):
        opened = session(plan(seed=seed), tmp_path / str(number))
        carry_out(opened)
        found.append([(trial.params, trial.values) for trial in opened.rows()])
    assert found[0] == found[1]
    assert found[0][0] == found[2][0]
    assert all(a != b for a, b in zip(found[0][1:], found[2][1:], strict=True))


def test_order_and_interruption_of_runs_change_no_trial(tmp_path: Path) -> None:
    """Trials done backwards, one at a time, by sessions that come and go, are the same trials."""
    whole = session(plan(), tmp_path / "whole")
    carry_out(whole)
    storage = InMemoryStorage()
    while runs := session(plan(), tmp_path / "pieces", storage).advance():
        store_at(tmp_path / "pieces").write(blank(runs[-1], **planted(runs[-1])))
    assert session(plan(), tmp_path / "pieces", storage).rows() == whole.rows()


def test_storage_that_was_lost_is_filled_again_from_the_records(tmp_path: Path) -> None:
    """With the same records in place nothing is run twice."""
    first = session(plan(), tmp_path)
    carry_out(first)
    second = session(plan(), tmp_path)
    assert second.advance() == []
    assert second.rows() == first.rows()


@pytest.mark.parametrize("trials", [8, 13, 24])
def test_budget_in_trials_is_spent_exactly(tmp_path: Path, trials: int) -> None:
    """As many trials are told as the budget has, and a larger budget goes on from there."""
    storage = InMemoryStorage()
    opened = session(plan(trials), tmp_path, storage)
    carry_out(opened)
    assert opened.file().spent == len(opened.rows()) == trials
    before = opened.rows()
    more = session(plan(trials + 3), tmp_path, storage)
    carry_out(more)
    assert len(more.rows()) == trials + 3
    assert more.rows()[:trials] == before


def test_failed_diverged_and_pruned_trials_are_charged(tmp_path: Path) -> None:
    """Whatever becomes of a trial, it counts; one without a cost counts in full."""
    limit = Limit(unit="steps", amount=20 * STEPS + 3)
    opened = session(plan(limit=limit), tmp_path)
    seen: dict[str, int] = {}

    def evaluate(run: Run) -> dict[str, Any]:
        place = seen.setdefault(run.hash, len(seen) + 1)
        status = [Status.OK, Status.FAILED, Status.DIVERGED, Status.OUT_OF_MEMORY][place % 4]
        if status == Status.OK:
            return planted(run)
        return {"status": status, "detail": "planted"}

    carry_out(opened, evaluate)
    rows = opened.rows()
    assert len(rows) == len(seen) == 20
    assert opened.file().spent == 20 * STEPS
    states = Counter(row.state for row in rows)
    assert states == {TrialState.COMPLETE: 5, TrialState.FAILED: 15}
    assert {row.detail for row in rows if row.state == TrialState.FAILED} == {"planted"}


def test_trials_that_end_early_leave_budget_for_more(tmp_path: Path) -> None:
    """Steps that patience saved are spent on further trials, and never more than there are."""
    limit = Limit(unit="steps", amount=10 * STEPS)
    opened = session(plan(limit=limit), tmp_path)

    def evaluate(run: Run) -> dict[str, Any]:
        return scored(run, bowl(run)) | {"cost": cost(run).model_copy(update={"steps": 1})}

    carry_out(opened, evaluate)
    assert len(opened.rows()) == 37
    assert opened.file().spent == 37  # three steps are left, and a trial may take four


def test_budget_in_compute_counts_passes(tmp_path: Path) -> None:
    """A trial whose runs pass over each example twice as often as LoRA's leaves half as many."""
    limit = Limit(unit="compute", amount=20)
    opened = session(plan(limit=limit, trial_seeds=2), tmp_path / "plain")
    carry_out(opened)
    assert (len(opened.rows()), opened.plan.expected) == (20, (20, 20))
    assert opened.file().spent == opened.file().budget.amount

    def evaluate(run: Run) -> dict[str, Any]:
        twice = cost(run).model_copy(update={"forward_passes": 3 * STEPS})
        return scored(run, bowl(run)) | {"cost": twice}

    opened = session(plan(limit=limit), tmp_path / "twice")
    carry_out(opened, evaluate)
    assert (len(opened.rows()), opened.file().spent) == (10, opened.file().budget.amount)


def test_budget_in_seconds_ends(tmp_path: Path) -> None:
    """No trial begins for which there is no time left, even where all of them fail."""
    limit = Limit(unit="seconds", amount=50)
    opened = session(plan(limit=limit), tmp_path / "good")
    carry_out(opened)
    assert opened.file().spent == 50
    assert len(opened.rows()) == 25
    opened = session(plan(limit=limit), tmp_path / "bad")
    carry_out(opened, lambda _: {"status": Status.FAILED})
    assert len(opened.rows()) == 50


def test_scores_are_means_over_the_seeds_of_a_trial(tmp_path: Path) -> None:
    """A trial of three runs has their mean score and the sum of their costs."""
    opened = session(plan(8, trial_seeds=3), tmp_path)
    carry_out(opened, lambda run: scored(run, run.seed - opened.plan.search.seeds[0], train=4.0))
    row = opened.rows()[5]
    assert row.seeds == opened.plan.search.seeds
    assert (row.validation_score, row.train_score, row.gap) == (1.0, 4.0, 3.0)
    assert (row.seconds, row.steps) == (6.0, 3 * STEPS)
    assert row.examples == 3 * STEPS * opened.plan.base.budget.batch_size


def test_pair_of_objectives_has_the_front_that_no_trial_beats(tmp_path: Path) -> None:
    """The front of score and ECE holds the best of each, and only undominated trials."""
    opened = session(plan(24, objectives=("score", "ece")), tmp_path)
    carry_out(opened, lambda run: scored(run, bowl(run), run.cell.config["dropout"]))
    file = opened.file()
    values = {t.number: t.values for t in file.trials}
    undominated = {
        n
        for n, (score, ece) in values.items()
        if not any(s >= score and e <= ece and (s, e) != (score, ece) for s, e in values.values())
    }
    assert set(file.front) == undominated
    assert file.best_number in file.front
    assert len(file.front) > 1


def test_undefined_score_is_a_failure(tmp_path: Path) -> None:
    """A trial whose metric is undefined is told as failed, with the reason."""
    opened = session(plan(8), tmp_path)
    carry_out(opened, lambda run: scored(run, 0.5) | {"calibration": None} | _scoreless(run))
    assert {row.detail for row in opened.rows()} == {"its score is undefined"}
    assert opened.file().best_number is None


def _scoreless(run: Run) -> dict[str, Any]:
    fields = scored(run, 0.5)
    split = fields["splits"]["validation"]
    empty = split.model_copy(update={"metrics": dict.fromkeys(split.metrics)})
    return {"splits": fields["splits"] | {"validation": empty}}


def test_wilcoxon_spares_later_seeds_of_trials_that_lose(tmp_path: Path) -> None:
    """Trials worse than the best on every seed end after four; the default never does."""
    opened = session(plan(16, trial_seeds=6, pruner="wilcoxon"), tmp_path)
    default = opened.plan.base.hash

    def evaluate(run: Run) -> dict[str, Any]:
        # The default wins by a clear margin on every seed.
        return scored(run, float(run.cell.hash == default) + run.seed % 7 / 100)

    carry_out(opened, evaluate)
    rows = opened.rows()
    assert (rows[0].state, len(rows[0].seeds)) == (TrialState.COMPLETE, 6)
    pruned = [row for row in rows if row.state == TrialState.PRUNED]
    assert {row.number for row in pruned} == set(range(8, 16))
    assert all(len(row.seeds) == 4 for row in pruned)
    assert opened.file().best_number == 0


def test_asha_ends_the_worse_part_of_runs_but_never_the_default(tmp_path: Path) -> None:
    """At each evaluation the runs that are not among the best are ended."""
    opened = session(plan(16, pruner="asha"), tmp_path)

    def evaluate(run: Run) -> dict[str, Any]:
        curve = [_point(0, 0.0)]
        for step in (STEPS // 2, STEPS):
            curve.append(_point(step, bowl(run)))
            reason = opened.prune(run, curve)
            if reason is not None:
                return {"status": Status.PRUNED, "detail": reason}
        return planted(run)

    carry_out(opened, evaluate)
    rows = opened.rows()
    assert rows[0].state == TrialState.COMPLETE
    states = Counter(row.state for row in rows)
    assert states[TrialState.PRUNED] >= 4
    assert states[TrialState.PRUNED] + states[TrialState.COMPLETE] == 16
    best = max(bowl(run) for row in rows for run in opened.plan.runs(row.params))
    assert opened.file().best_number is not None
    assert max(r.validation_score or -math.inf for r in rows) == pytest.approx(best)


def _point(step: int, score: float) -> CurvePoint:
    return CurvePoint(
        step=step,
        train_score=score,
        validation_score=score,
        train_loss=0.5,
        validation_loss=0.5,
    )


def test_study_made_with_another_space_is_refused_and_stays(tmp_path: Path) -> None:
    """A changed range is named; the study keeps its trials."""
    storage = InMemoryStorage()
    opened = session(plan(8), tmp_path, storage)
    carry_out(opened)
    wider = SPACE | {"rank": SPACE["rank"].model_copy(update={"high": 128})}
    kept = opened.plan
    other = StudyPlan(kept.suite, kept.variant, kept.base, wider, kept.search, kept.each)
    with pytest.raises(StoreError, match=r"made with another space: rank differ; .*--seed"):
        Session(other, storage, opened.store)
    assert len(opened.rows()) == 8


def test_failure_that_passes_costs_no_trial(tmp_path: Path) -> None:
    """As everywhere, a run is tried again until it failed twice in the same way."""
    smooth, rough = session(plan(), tmp_path / "smooth"), session(plan(), tmp_path / "rough")
    carry_out(smooth)
    failed: set[str] = set()

    def evaluate(run: Run) -> dict[str, Any]:
        if run.hash in failed or len(failed) == START:
            return planted(run)
        failed.add(run.hash)
        return {"status": Status.FAILED, "detail": "the device is busy"}

    carry_out(rough, evaluate)
    assert len(failed) == START
    assert rough.rows() == smooth.rows()


def test_scores_on_seeds_stay_known_while_the_winner_is_the_same(tmp_path: Path) -> None:
    """A search that is asked for again publishes its study before those runs are read."""
    opened = session(plan(), tmp_path)
    carry_out(opened)
    known = {"default_test": 0.5, "default_validation": 0.4, "tuned_test": 0.6}
    file = opened.publish(tmp_path / "study").model_copy(update=known)
    analysis.write(tmp_path / "study", file)
    again = opened.publish(tmp_path / "study")
    assert {name: getattr(again, name) for name in known} == known
    other = file.model_copy(update={"best_number": (file.best_number or 0) + 1})
    analysis.write(tmp_path / "study", other)
    assert opened.publish(tmp_path / "study").tuned_test is None


def test_run_that_fails_each_time_in_another_way_ends(tmp_path: Path) -> None:
    """A search makes a run twice at most, whatever its causes say."""
    opened = session(plan(8), tmp_path)
    made: list[str] = []
    while runs := opened.advance():
        with opened.store.claim(runs) as mine:
            for run in mine:
                made.append(run.hash)
                word = "abcdefghijklmnop"[len(made) % 16]
                record = blank(run, Status.FAILED, detail=f"no file {word}")
                now = {"started_at": datetime.now(UTC)}
                origin = record.provenance.model_copy(update=now)
                opened.store.write(record.model_copy(update={"provenance": origin}))
    assert Counter(made) == dict.fromkeys(made, 2)
    assert {row.state for row in opened.rows()} == {TrialState.FAILED}
