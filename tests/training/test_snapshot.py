"""Snapshots: as data and back without loss, and of a part of a stack."""

import json

import numpy as np
import torch

from gapbench.bench.store.record import CurvePoint
from gapbench.bench.training.run_state import Trace
from gapbench.bench.training.snapshot import Snapshot

POINT = CurvePoint(
    step=3, train_score=0.1, validation_score=None, train_loss=1 / 3, validation_loss=2
)


def snapshot() -> Snapshot:
    """Return a snapshot of four runs, of which the second has left."""
    outputs = {
        "loss": np.array([0.1, 1e-300, -0.0]),
        "correct": np.array([True, False, True]),
        "start": np.array([[1, 2**40]]),
        "none": np.zeros((0, 2)),
    }
    traces = [
        Trace(steps=index, work={"train.train": np.array([1 / 3, 2.0])}) for index in range(4)
    ]
    traces[2].curve, traces[2].best_score = [POINT], 0.1 + 0.2
    traces[2].best_outputs = {"validation": outputs, "train": {"loss": np.array([7.0])}}
    traces[2].best_row = torch.tensor([0.1, torch.pi], dtype=torch.float64)
    traces[1].diverged = "its loss"
    return Snapshot(
        step=12,
        active=(0, 2, 3),
        active_rows={"numbers": torch.arange(6).view(3, 2)},
        rows={"kept": torch.tensor([[True], [False], [False], [True]])},
        traces=traces,
        seconds={"train": np.array([0.1, 0.2, 0.3, 0.4])},
        counted=[({"train.train": np.array([1.0, 1 / 3])}, 1e18)],
    )


def assert_same(one: Snapshot, other: Snapshot) -> None:
    """Compare all parts bit for bit, and the types of what they hold."""
    (content, tensors), (others, other_tensors) = one.pack(), other.pack()
    assert content == others
    assert tensors.keys() == other_tensors.keys()
    for name, values in tensors.items():
        assert values.dtype == other_tensors[name].dtype
        assert torch.equal(values, other_tensors[name])


def test_snapshot_comes_back_from_json_and_tensors_without_loss() -> None:
    """Floats keep every bit, arrays their types and shapes, absent values stay absent."""
    content, tensors = snapshot().pack()
    back = Snapshot.unpack(json.loads(json.dumps(content)), tensors)
    assert_same(back, snapshot())
    assert back.traces[2].curve == [POINT]
    assert back.traces[0].best_row is None
    made = back.traces[2].best_outputs["validation"]
    assert {name: values.dtype.kind for name, values in made.items()} == {
        "loss": "f",
        "correct": "b",
        "start": "i",
        "none": "f",
    }
    assert isinstance(back.traces[0].work["train.train"], np.ndarray)


def test_snapshot_of_all_its_runs_is_itself() -> None:
    """Nothing is copied where nothing is left out."""
    whole = snapshot()
    assert whole.of(range(4)) is whole


def test_snapshot_of_some_runs_has_their_rows_in_the_order_asked_for() -> None:
    """Rows, traces and seconds follow the runs; those that had left stay out of the stack."""
    part = snapshot().of([3, 1, 0])
    assert part.active == (0, 2)
    assert part.active_rows["numbers"].tolist() == [[4, 5], [0, 1]]
    assert part.rows["kept"].tolist() == [[True], [False], [True]]
    assert [trace.steps for trace in part.traces] == [3, 1, 0]
    assert part.seconds["train"].tolist() == [0.4, 0.2, 0.1]
    assert (part.step, part.counted[0][1]) == (12, 1e18)


def test_snapshot_of_runs_that_have_left_is_of_an_empty_stack() -> None:
    """Only what is known of them remains."""
    part = snapshot().of([1])
    assert part.active == ()
    assert part.active_rows["numbers"].shape == (0, 2)
    assert part.traces[0].diverged == "its loss"
