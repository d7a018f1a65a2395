"""Which rows are not compared, by reason: the same words once, however many rows they hold for."""

from collections.abc import Mapping, Sequence

from gapbench.reports.tables.row_status import RowStatus
from gapbench.reports.verdict.model import Entry

_MOST_NAMES, _MOST_REASONS = 4, 4
_KINDS: dict[RowStatus, str] = {
    "incomplete": "too few seeds on some task",
    "failed": "runs without a score on some task",
    "collapsed": "seeds that lie far below the others on some task",
    "single": "one seed, which gives no interval",
    "skipped": "no run can be had here on some task",
    "itemless": "no values of single test items are known on some task",
}


def by_reason(rows: Sequence[Entry]) -> str:
    """Return the names of rows with what keeps them out, by kind if the reasons are many."""
    reasons = {each.name: each.why for each in rows}
    if len(set(reasons.values())) > _MOST_REASONS:
        reasons = {each.name: _KINDS.get(each.status, each.why) for each in rows}
    return grouped(reasons)


def grouped(reasons: Mapping[str, str]) -> str:
    """Return names by reason, such as "a, b and 3 more (no score on sst2); c (1 of 5 seeds)"."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    said = [f"{_some(names)} ({reason})" for reason, names in groups.items()]
    shown, rest = said[:_MOST_REASONS], list(groups.values())[_MOST_REASONS:]
    more = [f"{sum(map(len, rest))} more for other reasons (see gapbench status)"] if rest else []
    return "; ".join([*shown, *more])


def _some(names: Sequence[str]) -> str:
    """Return names as "a, b and c", the first ones and a count if they are many."""
    shown = list(names[:_MOST_NAMES])
    more = len(names) - len(shown)
    *before, last = [*shown, f"{more} more"] if more else shown
    return f"{', '.join(before)} and {last}" if before else last
