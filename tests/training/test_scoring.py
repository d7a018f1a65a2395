"""What is scored when: validation always, train and test seldom, the chosen checkpoint in full."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.data.batching import collate
from gapbench.bench.data.encoded import EncodedSplit, TaskData
from gapbench.bench.store import provenance
from gapbench.bench.store.record import CurvePoint, Record
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.training import trainer as training
from gapbench.bench.training.make_records import records
from gapbench.bench.training.phase_schedule import curve_points, evaluation_points
from gapbench.bench.training.run_state import Trace
from gapbench.bench.training.trainer import Trainer, _improved
from tests.support.small_stack import (
    CPU,
    load_backbone,
    make_runs,
    make_task,
    random_data,
    random_split,
)

MakeBackbone = Callable[[str], Path]
COPIES = {"lora": {}, "lora_dropout": {"instances": 2, "test_instances": 5}}
POINTS = [2 * i for i in range(9)]  # of 16 steps with 8 evaluations, and step 0


class Scored:
    """A trained stack of three runs and its records."""

    def __init__(self, folder: Path, method: str, data: TaskData, **settings: Any) -> None:
        self.data = data
        self.runs = make_runs(
            method, (0, 1, 2), configs=[COPIES[method]], steps=16, evaluations=8, **settings
        )
        self.method, self.state = set_up(self.runs, load_backbone(folder, self.runs), data, CPU)
        self.trainer = Trainer(self.runs, self.method, self.state, data, lambda _: None)
        self.trainer.train()

    def records(self) -> list[Record]:
        made = records(self.trainer, None, MemoryPeak(CPU), provenance.now())
        return [record for record, _ in made]

    def one_by_one(self, split: EncodedSplit) -> np.ndarray:
        """Return the runs' logits, every example in a pass of its own."""
        found, runs = [], self.state.axis.size
        with torch.inference_mode():
            for example in range(len(split)):
                batch = collate(split, np.full((runs, 1), example), CPU)
                found.append(self.method.predict(self.state, batch).numpy())
        return np.stack(found, axis=1)


def test_curve_points_are_few_and_even() -> None:
    """Both ends are among them; where there are few points, all are."""
    assert curve_points(evaluation_points(80, 8), 5) == {0, 20, 40, 60, 80}
    assert curve_points(evaluation_points(80, 3), 5) == {0, 27, 53, 80}
    for count in range(1, 40):
        found = sorted(curve_points(evaluation_points(400, count), 5))
        assert len(found) == min(5, count + 1)
        assert (found[0], found[-1]) == (0, 400)
        assert np.ptp(np.diff(found)) <= 2 * 400 / count


@pytest.mark.parametrize("method", COPIES)
def test_scores_of_the_chosen_checkpoint_are_those_of_a_full_scoring(
    make_backbone: MakeBackbone, method: str
) -> None:
    """Every split of a record equals its checkpoint, scored example by example by all members."""
    scored = Scored(make_backbone("bert"), method, random_data())
    kind, task = kinds.get("classification"), scored.state.task
    found = scored.records()
    assert len({record.checkpoint.step for record in found if record.checkpoint}) > 1
    for name, split in scored.data.open.items():
        logits = scored.one_by_one(split)
        for position, record in enumerate(found):
            own = {"logits": logits[position].astype(np.float64)}
            expected = kind.score(task, own, EvalSubset.of(split), ["accuracy"])
            assert record.splits[name].metrics == expected.metrics
            assert record.splits[name].loss == pytest.approx(expected.loss, abs=1e-9)


def test_train_and_test_are_scored_at_few_points_and_the_chosen_one(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere only validation is; at the chosen point the values are those of the same subset."""
    monkeypatch.setattr(training, "CURVE_SIZE", 10)
    scored = Scored(make_backbone("bert"), "lora", random_data())
    kind, trainer = kinds.get("classification"), scored.trainer
    sizes = {name: len(subset.examples) for name, subset in trainer.subsets.items()}
    assert sizes == {"train": 10, "validation": 24, "test": 10}
    found = scored.records()
    chosen = [record.checkpoint.step for record in found if record.checkpoint]
    assert {*chosen} - {*POINTS[::2]}  # one that was not scored on the way
    for position, (record, step) in enumerate(zip(found, chosen, strict=True)):
        assert [point.step for point in record.curve] == POINTS
        drawn = [point.step for point in record.curve if point.train_loss is not None]
        assert drawn == sorted({*POINTS[::2], step})
        (point,) = (point for point in record.curve if point.step == step)
        for name, subset in trainer.subsets.items():
            logits = kind.outputs(scored.method, scored.state, subset)["logits"][position]
            scores = kind.score(scored.state.task, {"logits": logits}, subset, ["accuracy"])
            assert getattr(point, f"{name}_score") == scores.metrics["accuracy"]
            assert getattr(point, f"{name}_loss") == pytest.approx(scores.loss, abs=1e-9)


def test_reused_outputs_are_those_that_would_be_computed(make_backbone: MakeBackbone) -> None:
    """Without the outputs kept at the chosen points, the records say the same."""
    folder, data = make_backbone("bert"), random_data()
    reusing, again = (Scored(folder, "lora", data) for _ in range(2))
    held = [trace.best_outputs for trace in reusing.trainer.traces]
    assert {"test" in each for each in held} == {True, False}  # some runs lack it
    for trace in again.trainer.traces:
        trace.best_outputs = {}
    for one, other in zip(reusing.records(), again.records(), strict=True):
        for name, scores in one.splits.items():
            assert scores.metrics == other.splits[name].metrics
            assert scores.loss == pytest.approx(other.splits[name].loss, abs=1e-12)
        assert [p.test_score for p in one.curve] == [p.test_score for p in other.curve]


def test_equal_splits_are_scored_once(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the protocol `paper`, test is validation: nothing of it is scored at the end."""
    equal = [random_split(24, 1) for _ in range(2)]
    data = TaskData(random_split(48, 0), *equal)
    monkeypatch.setattr(training, "CURVE_SIZE", 10)
    scored = Scored(make_backbone("bert"), "lora", data)
    kind, names = type(kinds.get("classification")), []
    outputs = kind.outputs

    def noted(self: Any, method: Any, state: Any, subset: EvalSubset) -> Any:
        names.append(next(n for n, split in data.open.items() if split is subset.split))
        return outputs(self, method, state, subset)

    monkeypatch.setattr(kind, "outputs", noted)
    for record in scored.records():
        assert record.splits["test"] == record.splits["validation"]
    assert names == ["train"]


def test_few_members_choose_and_all_score(make_backbone: MakeBackbone) -> None:
    """Along training the first two of five copies predict, or as many as the budget says."""
    scored = Scored(make_backbone("bert"), "lora_dropout", random_data())
    copies: list[int] = []
    running = scored.method.masking.running
    scored.method.masking.running = lambda n, step=None: (copies.append(n), running(n, step))[1]
    scored.trainer._evaluate(choose=False)
    assert {*copies} == {2}
    few = scored.trainer.traces[0].curve[-1]
    copies.clear()
    found = scored.records()
    assert {*copies} == {5}
    assert scored.state.most_members is None

    # Two of five copies are the same as an ensemble of two.
    two = make_runs("lora_dropout", (0, 1, 2), configs=[{"instances": 2}])
    method, state = set_up(two, load_backbone(make_backbone("bert"), two), scored.data, CPU)
    state.bank.load(scored.state.bank.values)
    subset, kind = EvalSubset.of(scored.data.test), kinds.get("classification")
    expected = kind.outputs(method, state, subset)["logits"]
    scored.state.most_members = 2
    np.testing.assert_allclose(
        kind.outputs(scored.method, scored.state, subset)["logits"], expected, atol=1e-12
    )
    assert few.validation_loss != found[0].splits["validation"].loss


def test_a_budget_may_ask_for_all_members(make_backbone: MakeBackbone) -> None:
    """Then the validation score that chose is the one that is stored."""
    scored = Scored(make_backbone("bert"), "lora_dropout", random_data(), choosing_members=5)
    for record in scored.records():
        assert record.checkpoint is not None
        (value,) = (p.validation_loss for p in record.curve if p.step == record.checkpoint.step)
        assert value == record.splits["validation"].loss


def test_loss_chooses_where_the_score_is_undefined() -> None:
    """A correlation with constant labels never is defined; a defined score beats all others."""
    task, trace = make_task(), Trace()
    losses, values = [0.9, 0.4, 0.6, 0.8, 0.1], [None, None, None, 0.5, None]
    chosen = []
    for step, (loss, value) in enumerate(zip(losses, values, strict=True)):
        trace.curve.append(CurvePoint(step=step, validation_score=value, validation_loss=loss))
        chosen.append(_improved(task, trace, value, loss))
        if chosen[-1]:
            trace.best_step, trace.best_score, trace.best_row = step, value, torch.zeros(1)
    assert chosen == [True, True, False, True, False]
