"""What a change of code or libraries did to methods, in words."""

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from gapbench.bench.core.errors import printable
from gapbench.reports.tables.terminal import WIDTH, fitted, number
from gapbench.reports.tables.words import listed
from gapbench.reports.verdict.gate import TOLERANCE, Change, Gated

_WIDTHS = (18, 20, 24, 5)
_DIGITS = 4
_MOST = 20


def format_gate(found: Gated) -> str:
    """Return the comparison as plain text of at most `WIDTH` columns."""
    lines = [
        f"{found.n_runs} runs in both, {found.n_equal} of them equal up to {TOLERANCE:g}.",
        *(["", *_table(found)] if found.changes else []),
        *(f"lost: {each}" for each in found.lost[:_MOST]),
    ]
    if found.absent:
        lines.append(f"{found.absent} runs of the reference were not run again.")
    return "\n".join(map(printable, [*lines, *wrap(conclusion(found), WIDTH)]))


def conclusion(found: Gated) -> str:
    """Say whether anything moved beyond chance."""
    if found.passed:
        said = f"Passed: nothing moved {'beyond chance' if found.changes else 'at all'}."
        single = list(dict.fromkeys(each.name for each in found.changes if each.n_seeds == 1))
        if single:
            said += " But one seed does not tell a move from chance: give two or more of "
            said += f"{listed(single)}."
        return said
    rows = {(each.name, each.place) for each in found.moved}
    parts = [f"{len(rows)} of the rows above moved beyond chance"] if rows else []
    lost = "run that had a score has" if len(found.lost) == 1 else "runs that had a score have"
    parts += [f"{len(found.lost)} {lost} none now"] if found.lost else []
    return f"Stopped: {', and '.join(parts)}."


def content(found: Gated) -> dict[str, Any]:
    """Return the comparison as JSON holds it."""
    return {
        "passed": found.passed,
        "runs": found.n_runs,
        "equal": found.n_equal,
        "tolerance": TOLERANCE,
        "changes": [vars(each) for each in found.changes],
        "lost": list(found.lost),
        "absent": found.absent,
        "conclusion": conclusion(found),
    }


def _table(found: Gated) -> Iterator[str]:
    yield _line("method", "task", "outcome", "seeds", "after - before")
    for each in found.changes[: max(_MOST, len(found.moved))]:
        yield _line(each.name, each.place, each.outcome, str(each.n_seeds), _effect(each))
    rest = len(found.changes) - max(_MOST, len(found.moved))
    if rest > 0:
        yield f"and {rest} more that did not move beyond chance"
    yield ""


def _effect(change: Change) -> str:
    known = change.low is not None
    ends = f" ({number(change.low, _DIGITS)} .. {number(change.high, _DIGITS)})" if known else ""
    return f"{number(change.difference, _DIGITS)}{ends}{'  MOVED' if change.moved else ''}"


def _line(*texts: str) -> str:
    *cells, last = texts
    shown = [fitted(text, width).ljust(width) for text, width in zip(cells, _WIDTHS, strict=True)]
    return f"{' '.join(shown)} {last}"
