"""What each item adds to a score of a run, read from its stored predictions."""

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.metrics import calibration
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.record_io import BARE, ITEM

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Predictions of one split, as stored; what several values share is worked out once."""

    table: pa.Table

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """The identity of each item."""
        return self.table["example_id"]

    def checked(self, metric: str, recorded: float) -> Floats | None:
        """Return `values`, None where they do not give the recorded value."""
        values = self.values(metric)
        if values is None or not np.isfinite(values).all():
            return None
        near = partial(math.isclose, values.mean(), recorded, rel_tol=1e-6)
        # Stored values have the digits of float32.
        close = near(abs_tol=1e-9) or near(abs_tol=1e-9 + 1e-6 * float(values.std()))
        return values if close else None

    def values(self, metric: str) -> Floats | None:
        """Return what each item adds to a value of a run, `(n,)`; None if predictions do not tell.

        Args:
            metric: name of a metric, "ece" or "nll"; after `BARE`, the bare backbone's.
        """
        if metric.startswith(BARE):
            return self._column(metric) if metric in self._names else None
        for name in (f"{ITEM}{metric}", f"{ITEM}token_{metric}"):
            if name in self._names:
                return self._column(name)
        if "tokens" in self._names:
            return _of_losses(self.table, metric)
        if self._logits is None:
            return None
        if metric in _CALIBRATION:
            own = self._log_probabilities
            return None if own is None else _CALIBRATION[metric](own, self._labels)
        known = get_metric(metric).measures == ("values" if self._classes is None else "labels")
        outputs = self._logits[:, 0] if self._classes is None else self._classes
        return get_metric(metric).pseudovalues(outputs, self._labels) if known else None

    def _column(self, name: str) -> Floats:
        return np.asarray(self.table[name].to_numpy(), dtype=np.float64)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.table.column_names)

    @cached_property
    def _labels(self) -> NDArray[Any]:
        labels: NDArray[Any] = self.table["label"].to_numpy()
        return labels

    @cached_property
    def _logits(self) -> Floats | None:
        """One column of values, or logits of each class; None if there are none."""
        width = sum(name.startswith("logit_") for name in self._names)
        if not width:
            return None
        # Class by class in memory: numpy reduces over few classes of many items four times as
        # fast so.
        logits = np.stack([self.table[f"logit_{place}"].to_numpy() for place in range(width)]).T
        # A question may have fewer choices than others, and null in their places.
        return logits if width == 1 else np.where(np.isnan(logits), -np.inf, logits)

    @cached_property
    def _classes(self) -> NDArray[np.intp] | None:
        """The predicted class of each item; None of values."""
        logits = self._logits
        return None if logits is None or logits.shape[1] == 1 else np.argmax(logits, axis=1)

    @cached_property
    def _log_probabilities(self) -> Floats | None:
        """Of the classes; None unless every item has probabilities of classes."""
        logits = self._logits
        if logits is None or logits.shape[1] == 1 or not np.isfinite(logits.max(axis=1)).all():
            return None
        return calibration.log_softmax(logits)


_CALIBRATION = {"ece": calibration.ece_items, "nll": calibration.nll_items}


def _of_losses(table: pa.Table, metric: str) -> Floats | None:
    """Return what the mean losses of items with their tokens say of a value, if they do."""
    losses, tokens = table["loss"].to_numpy(), table["tokens"].to_numpy()
    mean = np.average(losses, weights=tokens)
    moves = tokens * (losses - mean) / tokens.mean()
    if metric == "nll":
        return np.asarray(mean + moves)
    # Early records have no items of perplexity.
    return np.asarray(np.exp(mean) * (1 + moves)) if metric == "perplexity" else None
