"""Runs whose numbers overflow: what becomes of them, and of the others in their stack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapbench.bench.adaptation.method import AnyMethod, TrainState
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs
from gapbench.bench.tasks.kinds.classification import Classification
from tests.support.small_suite import SmallSuite, call, make

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A valid suite, none of it done."""
    return make(tmp_path / "small", make_backbone("bert"), seeds=1)


# The first alpha overflows in the gradient of the first step, the second only in the next forward
# pass, which is an evaluation.
@pytest.mark.parametrize("alpha", [1e30, 1e22])
def test_diverging_run_leaves_the_others_of_its_stack_alone(
    small: SmallSuite, capsys: Capture, alpha: float
) -> None:
    """A run whose loss is no number ends as diverged; its neighbours score as without it."""
    calm = {"method": "lora", "config": {"rank": 2}}
    wild = {
        "method": "lora",
        "variant": "wild",
        "config": {"alpha": alpha},
        "training": {"learning_rate": 1.0, "warmup_fraction": 0},
    }
    budget = {"steps": 4, "batch_size": 4, "evaluations": 4}
    small.write_suite(methods=[calm, wild], seeds=2, budget=budget)
    answer = call(capsys, "run", *small.running, "--json")
    assert answer.code == 3
    assert answer.json["now"] == {"ok": 2, "diverged": 2}
    assert answer.err.count("diverged: animals/random-bert/lora/") == 2
    assert "is not finite by step 1; try a lower learning_rate" in answer.err
    together = {r.run_hash: r for r in Store(small.results).records() if isinstance(r, Record)}
    small.write_suite(methods=[calm])
    alone = small.folder / "alone"
    assert call(capsys, "run", *small.planning, "--results", alone).code == 0
    for record in Store(alone).records():
        assert isinstance(record, Record)
        assert _scores(together[record.run_hash]) == pytest.approx(_scores(record), abs=1e-6)


def test_stack_that_diverges_altogether_is_recorded(small: SmallSuite, capsys: Capture) -> None:
    """When no run of a stack is left, each still has its record, and is not tried again."""
    wild = {"method": "lora", "config": {"alpha": 1e30}}
    small.write_suite(methods=[wild], training={"learning_rate": 1.0, "warmup_fraction": 0})
    answer = call(capsys, "run", *small.running, "--json")
    assert (answer.code, answer.json["now"]) == (3, {"diverged": 1})
    again = call(capsys, "run", *small.running, "--json")
    assert (again.code, again.json["now"]) == (3, {})


def test_overflow_in_the_final_scoring_ends_one_run_only(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that overflows on an example training never saw spoils no neighbour's result."""

    def overflow(
        kind: Classification,
        method: AnyMethod,
        state: TrainState,
        subset: EvalSubset,
        _tokenizer: Any,
    ) -> Outputs:
        made = kind.outputs(method, state, subset)
        made["logits"][0, -1] = np.inf
        return made

    monkeypatch.setattr(Classification, "finish", overflow)
    part = ("--methods", "lora", "--seeds", "3", "--stack", "3")
    answer = call(capsys, "run", *small.running, *part, "--json")
    assert (answer.code, answer.json["now"]) == (3, {"ok": 2, "diverged": 1})
    assert "an output of the chosen checkpoint is not finite" in answer.err


def _scores(record: Record) -> list[float]:
    """Return every number of a record that does not measure time."""
    curve = [value for point in record.curve for value in point.model_dump().values()]
    assert record.calibration is not None
    losses = [scores.loss for scores in record.splits.values()]
    return [*curve, *losses, *record.calibration.model_dump().values()]
