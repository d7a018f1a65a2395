"""Generated splits: their content, the texts they may use, and the best possible score.

The other modules of this package are the tasks that fill them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.synthetic.language.sampling import Draws

Split = Literal["train", "validation", "test"]
Room = Literal["pretrain", "train", "validation", "test"]

ROOMS: tuple[Room, ...] = ("pretrain", "train", "validation", "test")

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class SyntheticSplit:
    """The examples of one split and the truth about them.

    Attributes:
        columns: Texts by column name, each of length n.
        labels: Drawn labels, (n,), int64 classes or choices, or float64 scores; empty, (0,), for
            generation.
        true_probabilities: P(label | input), (n, n_classes) or (n, n_choices); else None.
        true_mean: E(label | input), (n,); None except for regression.
        noise_sd: Standard deviation of the label before clipping; None except for regression.
        lists: Lists of texts by column name, each of length n: the references of an input, or its
            choices.
    """

    columns: Mapping[str, list[str]]
    labels: NDArray[np.int64] | NDArray[np.float64]
    true_probabilities: NDArray[np.float64] | None = None
    true_mean: NDArray[np.float64] | None = None
    noise_sd: float | None = None
    lists: Mapping[str, list[list[str]]] = field(default_factory=dict)

    def table(self) -> dict[str, list[Any]]:
        """Return the columns of a file of these rows: texts, lists of texts, `label` if any."""
        label = {"label": self.labels.tolist()} if self.labels.size else {}
        return {**self.columns, **self.lists, **label}

    def fingerprint(self) -> str:
        """Return the sha256 of the texts and labels, the same on every machine."""
        rows = zip(*self.table().values(), strict=True)
        lines = "\n".join("\t".join(map(str, row)) for row in rows)
        return hashlib.sha256(lines.encode()).hexdigest()


class SyntheticTask(Protocol):
    """A generated task: its columns and labels, and how its splits are made."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the text columns that a model reads together, one or two."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes in label order; empty except for classification."""

    def build(self, split: Split, n: int, inputs: Draws, labels: Draws) -> SyntheticSplit:
        """Make the first `n` examples of a split, inputs and labels from separate streams."""


def room(text: str) -> Room:
    """Return the only split that may use a text; each split gets an equal share."""
    return ROOMS[hashlib.sha256(text.encode()).digest()[0] % len(ROOMS)]


def draw_distinct(n: int, propose: Callable[[], tuple[K, V] | None]) -> dict[K, V]:
    """Collect `n` proposals with distinct keys; None and repeated keys are left out."""
    drawn: dict[K, V] = {}
    while len(drawn) < n:
        example = propose()
        if example is not None:
            drawn.setdefault(*example)
    return drawn


def best_possible(split: SyntheticSplit) -> dict[str, float]:
    """Score the predictor that knows the truth; no model does better in expectation.

    Returns:
        For classification and choice, expected `accuracy`, `nll` (nats) and `brier` (summed over
        classes), and for two classes the `matthews_corrcoef` of the expected confusion counts;
        these use the probabilities, not the drawn labels. For regression, `pearson` and `mse` of
        the true mean against the labels. For generation, `says_record` and `slot_accuracy`, which
        are 1 for every reference.
    """
    if split.true_probabilities is not None:
        return _best_of_classes(split.true_probabilities)
    if split.true_mean is not None:
        return {
            "pearson": float(np.corrcoef(split.true_mean, split.labels)[0, 1]),
            "mse": float(np.mean((split.true_mean - split.labels) ** 2)),
        }
    if "references" in split.lists:
        return {"says_record": 1.0, "slot_accuracy": 1.0}
    raise ValueError("the split has no true_probabilities, true_mean or references")


def _best_of_classes(p: NDArray[np.float64]) -> dict[str, float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=1)
    best = {
        "accuracy": float(p.max(axis=1).mean()),
        "nll": float(entropy.mean()),
        "brier": float((1.0 - (p**2).sum(axis=1)).mean()),
    }
    return best | {"matthews_corrcoef": _expected_matthews(p)} if p.shape[1] == 2 else best


def _expected_matthews(p: NDArray[np.float64]) -> float:
    chosen = p.argmax(axis=1)
    (tn, fn), (fp, tp) = (p[chosen == k].sum(axis=0).tolist() for k in (0, 1))
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(spread) if spread > 0 else 0.0
