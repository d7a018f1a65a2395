"""What the runs of a large results folder score: predictions, and a record that agrees with them.

A run is right about an example where its skill is above the example's difficulty. All runs of a
task share it, so that methods' scores go together over seeds and over examples as in earnest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.config.task import Task
from gapbench.bench.metrics.calibration import calibration_report
from gapbench.bench.metrics.classification import score
from gapbench.bench.store.record import Calibration, Checkpoint, CurvePoint, SplitScores, Truth

STEPS = np.arange(0, 2001, 200)
LAYERS = tuple(f"layer.{i}.attention.{part}" for i in range(12) for part in ("query", "value"))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A task on a backbone, and the examples that all of its runs are scored on.

    Attributes:
        task: as built in, of classes or values.
        backbone: its name.
        level: skill that the backbone brings along.
        difficulty: of the test examples, `(n,)`.
        targets: their classes or values, `(n,)`.
    """

    task: Task
    backbone: str
    level: float
    difficulty: Floats
    targets: NDArray[Any]

    @property
    def built_in(self) -> bool:
        """Whether the true probabilities are known."""
        return self.task.name.startswith("syn_")


def scored(
    place: Place, method: str, skill: float, rng: np.random.Generator
) -> tuple[pa.Table, dict[str, Any]]:
    """Return a run's test predictions, and the fields of a record that says what they score.

    Args:
        place: where it was run.
        method: decides what the run says of itself.
        skill: of the run, on the scale of difficulty.
        rng: of all noise.
    """
    logits = _logits(place, skill, rng)
    metrics = score(place.task.metrics, logits, place.targets)
    test = metrics[place.task.metrics[0]] or 0.0
    train = min(1.0, test + 0.05 + 0.15 * rng.random())
    scores = {"train": train, "validation": test + rng.normal(0, 0.01), "test": test}
    scores |= dict.fromkeys(place.task.splits.more or {}, test - 0.01)
    content: dict[str, Any] = {
        "splits": {
            name: SplitScores(
                metrics=metrics if name == "test" else dict.fromkeys(place.task.metrics, value),
                loss=_loss(value),
                examples=len(place.targets),
            )
            for name, value in scores.items()
        },
        "train_overlap": {"validation": 0, "test": 0},
        "generalization_gap": train - test,
        "gaps": dict.fromkeys(place.task.metrics, train - test),
        "loss_gap": _loss(test) - _loss(train),
        "curve": tuple(_curve(train, test, rng)),
        "checkpoint": Checkpoint(
            step=int(rng.choice(STEPS[5:])), validation_score=scores["validation"]
        ),
        "calibration": None,
        "truth": Truth(score=0.9, ece=0.01, brier=0.2, nll=0.3) if place.built_in else None,
        "notes": _notes(method, rng),
    }
    if place.task.kind == "classification":
        report = calibration_report(logits, place.targets, temperature=2.0)
        content["calibration"] = Calibration(temperature=2.0, **report)
    return _table(place, logits), content


def _loss(value: float) -> float:
    return 1.1 - 0.7 * value


def _logits(place: Place, skill: float, rng: np.random.Generator) -> Floats:
    """Return outputs, `(n, n_classes)`, or `(n, 1)` with an error that grows with difficulty."""
    n = len(place.difficulty)
    if place.task.kind == "regression":
        error = rng.normal(0, 0.5, n) + place.difficulty
        return np.asarray(place.targets + error / (0.3 + max(skill, 0)))[:, None]
    logits = rng.normal(0, 0.1, (n, len(place.task.labels)))
    margin = skill - place.difficulty + rng.normal(0, 0.3, n)
    logits[np.arange(n), place.targets] += 3 * margin
    return logits


def _table(place: Place, logits: Floats) -> pa.Table:
    columns: dict[str, Any] = {"example_id": np.arange(len(logits)), "label": place.targets}
    columns |= {f"logit_{k}": logits[:, k] for k in range(logits.shape[1])}
    if place.built_in:
        positive = np.where(place.targets == 1, 0.9, 0.1)
        columns |= {"true_probability_0": 1 - positive, "true_probability_1": positive}
    return pa.table(columns)


def _curve(train: float, test: float, rng: np.random.Generator) -> Iterator[CurvePoint]:
    """Yield scores that rise to what they are in the end, and losses that fall with them."""
    for step in STEPS:
        risen = 1 - np.exp(-step / 500) + rng.normal(0, 0.005)
        own, other = 0.4 + (train - 0.4) * risen, 0.4 + (test - 0.4) * risen
        overfitted = 0.0001 * max(0, int(step) - 1000)
        yield CurvePoint(
            step=int(step),
            train_score=own,
            validation_score=other,
            test_score=other - 0.002,
            train_loss=_loss(own),
            validation_loss=_loss(other) + overfitted,
            test_loss=_loss(other) + overfitted + 0.002,
        )


def _notes(method: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return what methods of this name say of their runs."""
    if method.startswith("adalora"):
        kept = np.clip(rng.poisson(np.linspace(2, 8, len(LAYERS))), 0, 12)
        return {"kept_ranks": dict(zip(LAYERS, kept.tolist(), strict=True))}
    if method in {"bilora", "bidora", "bilora_joint"}:
        return {"smallest_value": 0.1 * rng.random(), "largest_value": 0.2 + 0.1 * rng.random()}
    if method == "flexora":
        found = rng.normal(np.linspace(-0.2, 0.3, 12), 0.1)
        blocks = np.flatnonzero(found > 0).tolist()
        total = float(found.sum())
        return {"selected_blocks": blocks, "alpha_hat": found.tolist(), "alpha_hat_sum": total}
    if method == "flexora_random":
        return {"selected_blocks": sorted(rng.choice(12, 6, replace=False).tolist())}
    return {}
