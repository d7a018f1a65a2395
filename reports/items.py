"""What single test items say of the runs of one task: stored predictions as samples of values.

Statistics are in `reports.stats`. Predictions are read run by run, and of a run only one number an
item is kept.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.load import Results
from reports.stats.estimates import Sample
from reports.stats.intervals import Floats
from reports.stats.pseudovalues import PSEUDOVALUES

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Scored:
    """The runs of a cell that have a score, which is the mean of some metrics.

    Attributes:
        config_hash: of the cell.
        scores: the recorded metrics by name, by seed; metrics of other splits than test are
            `<split>/<metric>`.
    """

    config_hash: str
    scores: Mapping[int, Mapping[str, float]]


def samples(results: Results, cells: Mapping[Key, Scored]) -> dict[Key, Sample]:
    """Return the runs of cells that share their task and test set, as samples.

    A cell's items count only if all of its runs have stored predictions, of the same items as the
    other cells, and these give the recorded scores; otherwise its sample has scores alone.

    Args:
        results: where predictions are stored.
        cells: of one task and setting.
    """
    ids: NDArray[Any] | None = None
    found = {}
    for key, cell in cells.items():
        scores = {seed: float(np.mean(list(each.values()))) for seed, each in cell.scores.items()}
        values: dict[int, Floats] = {}
        for seed, recorded in cell.scores.items():
            frame = results.predictions(cell.config_hash, seed)
            if frame is None or len(frame) == 0:
                break
            own = frame["example_id"].to_numpy()
            ids = own if ids is None else ids
            items = pseudovalues(frame, recorded)
            if items is None or not np.array_equal(own, ids):
                break
            values[seed] = items
        whole = len(values) == len(scores) > 0
        found[key] = Sample(scores, values if whole else None)
    return found


def pseudovalues(frame: pd.DataFrame, recorded: Mapping[str, float]) -> Floats | None:
    """Return the values of a run's test items, whose mean is its score, `(n,)`.

    A metric that stored predictions cannot give adds what was recorded to every item.

    Args:
        frame: predictions as stored.
        recorded: the metrics whose mean the score is.

    Returns:
        None if predictions give none of the metrics, or another value than was recorded.
    """
    pair = _pair(frame)
    if pair is None:
        return None
    total = np.zeros(len(frame))
    known = False
    for metric, score in recorded.items():
        if metric not in PSEUDOVALUES:
            total += score
            continue
        items = PSEUDOVALUES[metric](*pair)
        if not np.isclose(items.mean(), score, rtol=1e-6, atol=1e-9):
            return None
        total += items
        known = True
    return total / len(recorded) if known else None


def _pair(frame: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return what the metrics of a kind of task compare; None if it is not in the table."""
    width = sum(name.startswith("logit_") for name in frame.columns)
    if width:
        logits = np.stack([frame[f"logit_{place}"].to_numpy() for place in range(width)], axis=1)
        # A question may have fewer choices than others.
        decided = logits[:, 0] if width == 1 else np.argmax(np.nan_to_num(logits, nan=-np.inf), 1)
        return decided, frame["label"].to_numpy()
    if "tokens" in frame:
        return frame["loss"].to_numpy(), frame["tokens"].to_numpy()
    return None
