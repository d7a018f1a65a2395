"""What single test items say of the runs of one task: stored predictions as samples of values.

Statistics are in `reports.stats`. Predictions are read run by run, and of a run only one number an
item is kept.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapbench.bench.core.errors import RecordError
from gapbench.reports.results.load import Results
from gapbench.reports.stats.estimates import Sample
from gapbench.reports.stats.influence import PSEUDOVALUES
from gapbench.reports.stats.intervals import Floats

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
            table = _read(results, cell.config_hash, seed)
            if table is None or table.num_rows < 2:
                break
            own = table["example_id"].to_numpy()
            ids = own if ids is None else ids
            items = pseudovalues(table, recorded)
            if items is None or not np.array_equal(own, ids):
                break
            values[seed] = items
        whole = len(values) == len(scores) > 0
        record = results.cells.get(cell.config_hash)
        possible = record.cell.task.metric.range if record else (-math.inf, math.inf)
        found[key] = Sample(scores, (values,) if whole else (), possible)
    return found


def pseudovalues(table: pa.Table, recorded: Mapping[str, float]) -> Floats | None:
    """Return the values of a run's test items, whose mean is its score, `(n,)`.

    A metric that stored predictions cannot give adds what was recorded to every item.

    Args:
        table: predictions as stored.
        recorded: the metrics whose mean the score is.

    Returns:
        None if predictions give none of the metrics, or another value than was recorded.
    """
    pair = _pair(table)
    if pair is None:
        return None
    total = np.zeros(table.num_rows)
    known = False
    for metric, score in recorded.items():
        if metric not in PSEUDOVALUES:
            total += score
            continue
        items = PSEUDOVALUES[metric](*pair)
        if not math.isclose(items.mean(), score, rel_tol=1e-6, abs_tol=1e-9):
            return None
        total += items
        known = True
    return total / len(recorded) if known else None


def _read(results: Results, config_hash: str, seed: int) -> pa.Table | None:
    """Return the predictions of a run, None if there are none or the file is damaged."""
    try:
        return results.store.predictions(replace(results.cells[config_hash].run, seed=seed))
    except RecordError:
        return None


def _pair(table: pa.Table) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return what the metrics of a kind of task compare; None if it is not in the table."""
    width = sum(name.startswith("logit_") for name in table.column_names)
    if width:
        logits = np.stack([table[f"logit_{place}"].to_numpy() for place in range(width)])
        # A question may have fewer choices than others, and null in their places.
        decided = logits[0] if width == 1 else np.argmax(np.fmax(logits, -np.inf), axis=0)
        return decided, table["label"].to_numpy()
    if "tokens" in table.column_names:
        return table["loss"].to_numpy(), table["tokens"].to_numpy()
    return None
