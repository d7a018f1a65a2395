"""What each item adds to a score of a run, read from its stored predictions."""

import math

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.metrics import calibration
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.record_io import BARE, ITEM

Floats = NDArray[np.float64]


def checked_items(table: pa.Table, metric: str, recorded: float) -> Floats | None:
    """Return `item_values`, None where they do not give the recorded value."""
    values = item_values(table, metric)
    if values is None or not np.isfinite(values).all():
        return None
    # Stored values have the digits of float32.
    close = math.isclose(
        values.mean(), recorded, rel_tol=1e-6, abs_tol=1e-9 + 1e-6 * float(values.std())
    )
    return values if close else None


def item_values(table: pa.Table, metric: str) -> Floats | None:
    """Return what each item adds to a value of a run, `(n,)`; None if predictions do not tell.

    Args:
        table: predictions of one split, as stored.
        metric: name of a metric, "ece" or "nll"; after `BARE`, the bare backbone's.
    """
    if metric.startswith(BARE):
        found = metric in table.column_names
        return np.asarray(table[metric].to_numpy(), dtype=np.float64) if found else None
    for name in (metric, f"token_{metric}"):
        if f"{ITEM}{name}" in table.column_names:
            return np.asarray(table[f"{ITEM}{name}"].to_numpy(), dtype=np.float64)
    if "tokens" in table.column_names:
        return _of_losses(table, metric)
    width = sum(name.startswith("logit_") for name in table.column_names)
    if not width:
        return None
    labels = table["label"].to_numpy()
    # Class by class in memory: numpy reduces over few classes of many items four times as fast so.
    logits = np.stack([table[f"logit_{place}"].to_numpy() for place in range(width)]).T
    if width == 1:
        known = metric not in _CALIBRATION and get_metric(metric).measures == "values"
        return get_metric(metric).pseudovalues(logits[:, 0], labels) if known else None
    # A question may have fewer choices than others, and null in their places.
    logits = np.where(np.isnan(logits), -np.inf, logits)
    if metric in _CALIBRATION:
        probable = np.isfinite(logits.max(axis=1)).all()  # else some item has no probabilities
        return _CALIBRATION[metric](logits, labels) if probable else None
    known = get_metric(metric).measures == "labels"
    return get_metric(metric).pseudovalues(np.argmax(logits, axis=1), labels) if known else None


_CALIBRATION = {"ece": calibration.ece_items, "nll": calibration.nll_items}


def _of_losses(table: pa.Table, metric: str) -> Floats | None:
    """Return what the mean losses of items with their tokens say of a value, if they do."""
    losses, tokens = table["loss"].to_numpy(), table["tokens"].to_numpy()
    mean = np.average(losses, weights=tokens)
    moves = tokens * (losses - mean) / tokens.mean()
    if metric == "nll":
        return np.asarray(mean + moves)
    # Before version 0.2 items of perplexity were not stored.
    return np.asarray(np.exp(mean) * (1 + moves)) if metric == "perplexity" else None
