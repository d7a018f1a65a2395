"""The average over GLUE's nine tasks as rows of a leaderboard; see `reports.tables.glue`.

Each task is a stratum of its own: an average is the mean of the tasks' means, and its interval is
over the seeds of each and, where they are known, its test items.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gapbench.reports.stats.estimates import Estimate
from gapbench.reports.tables.suite_summary import SuiteSummary

NAME = "GLUE average"
"""What stands in the leaderboard as the task."""


def averages(leaderboard: pd.DataFrame, found: Sequence[SuiteSummary]) -> pd.DataFrame:
    """Return the averages of the suites that have all nine tasks, as rows of a leaderboard.

    Args:
        leaderboard: as `reports.tables.leaderboard` returns it; the rows get its columns.
        found: suites, of which those without GLUE are passed over.
    """
    content = [
        _row(each, name, mean)
        for each in found
        if each.glue
        for name, mean in sorted(each.means.items(), key=lambda item: each.groups.get(item[0], 99))
    ]
    table = pd.DataFrame(content, columns=leaderboard.columns)
    kinds = leaderboard.dtypes.to_dict()
    texts = [str(name) for name, kind in kinds.items() if isinstance(kind, pd.StringDtype)]
    table[texts] = table[texts].astype("str").fillna("")
    return table.astype(kinds)


def _row(each: SuiteSummary, name: str, mean: Estimate) -> dict[str, Any]:
    cells = [task.rows[name] for task in each.tasks]
    params = [cell.trainable_params for cell in cells if pd.notna(cell.trainable_params)]
    n_seeds = min(len(task.scores[name]) for task in each.tasks)
    score = mean.interval(n_seeds, each.possible)
    return {
        "suite": each.suite,
        "task": NAME,
        "backbone": each.backbone,
        "start": each.start,
        "method": cells[0].method,
        "variant": cells[0].variant,
        "n_seeds": min(cell.n_seeds for cell in cells),
        "metric": "mean of tasks",
        "score": score.mean,
        "score_ci_low": score.low,
        "score_ci_high": score.high,
        "rank_group": each.groups.get(name),
        "trainable_params": round(np.mean(params)) if params else None,
        "n_failed": sum(cell.n_failed for cell in cells),
    }
