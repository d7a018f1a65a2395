"""Score the runs of a stack on a split: logits in evaluation mode, then metrics, loss, calibration.

Nothing here chooses anything. The order of examples is restored, so that row i of the logits is
example i of the split.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench import calibration, metrics
from bench.batches import collate, evaluation_batches
from bench.data import EncodedSplit, TaskData
from bench.method import AnyMethod, TrainState
from bench.objective import example_losses
from bench.record import Calibration, Scores, SplitScores, Truth
from bench.tasks import Task

PROBE_SIZE = 500  # examples of a split that are scored along training
_MAX_TOKENS = 16384  # padded tokens of one evaluation batch, over all runs

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """A fixed, evenly spaced part of a split, small enough to be scored many times."""

    split: EncodedSplit
    indices: NDArray[np.int64]

    @classmethod
    def of(cls, split: EncodedSplit, size: int | None = None) -> "Probe":
        """Take at most ``size`` examples; the whole split if None."""
        count = len(split) if size is None else min(size, len(split))
        return cls(split, np.arange(count, dtype=np.int64) * len(split) // count)

    @property
    def targets(self) -> NDArray[np.generic]:
        """Targets of the chosen examples."""
        chosen: NDArray[np.generic] = self.split.targets[self.indices]
        return chosen


def predict(method: AnyMethod, state: TrainState, probe: Probe) -> Logits:
    """Return the logits of every active run; (runs, examples, outputs) float64."""
    state.model.eval()
    runs = state.axis.size
    out = np.empty((runs, len(probe.indices), state.task.n_outputs))
    lengths = probe.split.lengths[probe.indices]
    with torch.inference_mode():
        for places in evaluation_batches(lengths, _MAX_TOKENS // runs):
            indices = np.broadcast_to(probe.indices[places], (runs, len(places)))
            batch = collate(probe.split, indices, state.axis.device)
            logits = method.predict(state, batch)
            out[:, places] = logits.double().cpu().numpy().reshape(runs, len(places), -1)
    return out


def score(task: Task, logits: Logits, targets: NDArray[np.generic]) -> SplitScores:
    """Return all metrics and the mean loss of one run's logits, (examples, outputs)."""
    losses = example_losses(torch.from_numpy(logits), torch.from_numpy(targets), task.kind)
    return SplitScores(
        metrics=metrics.score(task.metrics, logits, targets),
        loss=float(losses.mean()),
        examples=len(targets),
    )


def main_score(task: Task, scores: Scores) -> float | None:
    """Return the main metric."""
    return scores[task.metrics[0]]


def calibrate(
    task: Task,
    validation: tuple[Logits, NDArray[np.generic]],
    test: tuple[Logits, NDArray[np.generic]],
) -> Calibration | None:
    """Fit the temperature on validation and measure test calibration; None for regression."""
    if task.kind != "classification":
        return None
    temperature = calibration.fit_temperature(*validation)
    report = calibration.calibration_report(*test, temperature)
    return Calibration(temperature=temperature, **report)


def best_possible(task: Task, data: TaskData) -> Truth | None:
    """Return what the true probabilities or means score on the test split, where they are known."""
    truth, targets = data.test.truth, data.test.targets
    if truth is None:
        return None
    if task.kind == "regression":
        return Truth(score=_defined(metrics.score(task.metrics[:1], truth, targets)))
    logits = np.log(np.clip(truth, 1e-12, None))
    report = calibration.calibration_report(logits, targets, 1.0)
    return Truth(
        score=_defined(metrics.score(task.metrics[:1], logits, targets)),
        ece=report["ece"],
        brier=report["brier"],
        nll=report["nll"],
    )


def _defined(scores: Scores) -> float | None:
    return next(iter(scores.values()))
