"""Which rows are not compared, by reason: the same words once, however many rows they hold for."""

from collections.abc import Mapping, Sequence

from gapbench.reports.tables.row_status import RowStatus
from gapbench.reports.tables.words import few
from gapbench.reports.verdict.model import Entry

_MOST_REASONS = 4
_KINDS: dict[RowStatus, str] = {
    "incomplete": "too few seeds",
    "failed": "runs without a score",
    "collapsed": "seeds that lie far below the others",
    "single": "one seed, which gives no interval",
    "skipped": "no run can be had here",
    "itemless": "no values of single test items are known",
}


def by_reason(rows: Sequence[Entry], *, several: bool) -> str:
    """Return the names of rows with what keeps them out, by kind if the reasons are many.

    Args:
        rows: which are not compared.
        several: whether over several tasks, on one of which a reason is enough.
    """
    where = " on some task" if several else ""
    reasons = {each.name: each.why for each in rows}
    if len(set(reasons.values())) > _MOST_REASONS:
        reasons = {
            each.name: f"{_KINDS[each.status]}{where}" if each.status in _KINDS else each.why
            for each in rows
        }
    return grouped(reasons)


def grouped(reasons: Mapping[str, str]) -> str:
    """Return names by reason, such as "a, b and 3 more (no score on sst2); c (1 of 5 seeds)"."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    said = [f"{few(names)} ({reason})" for reason, names in groups.items()]
    shown, rest = said[:_MOST_REASONS], list(groups.values())[_MOST_REASONS:]
    more = [f"{sum(map(len, rest))} more for other reasons (see gapbench status)"] if rest else []
    return "; ".join([*shown, *more])
