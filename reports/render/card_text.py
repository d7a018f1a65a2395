"""The answer as plain text, for a terminal of 80 columns."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

from gapbench.bench.core.errors import printable
from gapbench.reports.document.model import Card
from gapbench.reports.prose.card_points import COMPLETE
from gapbench.reports.tables.terminal import WIDTH, fitted

_LABEL = 24
_ALIKE = "no difference shown"
_NAMES = (20, 24)
"""Most columns of the names of a task and of a method; longer ones take several lines."""


def text(card: Card, kind: str = "ANSWER") -> str:
    """Return the answer as lines of at most `WIDTH` columns."""
    title = f" {kind}: {card.about} "
    long = len(title) > WIDTH - 4
    lines = (
        [_ruled(f" {kind} "), *wrap(card.about, WIDTH, break_on_hyphens=False), ""]
        if long
        else [_ruled(title)]
    )
    lines += wrap(card.headline, WIDTH)
    lines += wrap(card.certainty, WIDTH)
    if card.measures:
        lines += ["", *_table(card)]
        if any(each.reading == _ALIKE for each in card.measures):
            lines.append(f"(-: {_ALIKE})")
    lines += ["", *(line for name, said in card.points.items() for line in _point(name, said))]
    if card.tasks:
        lines += ["", "Task by task:"]
        lines += _tasks(card.tasks)
    return "\n".join(printable(line.rstrip()) for line in [*lines, "=" * WIDTH]) + "\n"


def _ruled(title: str) -> str:
    return f"=={title}".ljust(WIDTH, "=")


def _table(card: Card) -> Iterator[str]:
    """Yield a line for each measure; intervals of each method alone stand on the page."""
    (first, second), (role, other) = zip(*card.heads, strict=True)
    yield _line("", first, second, "difference")
    yield _line("", role, other, "(95 % interval)" if card.with_intervals else "")
    for each in card.measures:
        own, beside = (side.partition(" (")[0] for side in (each.first, each.second))
        reading = "-" if each.reading == _ALIKE else each.reading
        named = "" if each.difference else card.reading(each)
        named = each.reading if len(named) > 25 else named
        yield _line(each.name, own, beside, each.difference or named, "" if named else reading)


def _line(name: str, first: str, second: str, difference: str, reading: str = "") -> str:
    name = name.removesuffix(" (ECE)").removesuffix(" to the best")
    return (
        f"{fitted(name, 18):<18} {fitted(first, 12):>12} {fitted(second, 12):>12}"
        f" {difference:>25} {reading}"
    )


def _point(name: str, said: str) -> list[str]:
    if name == COMPLETE:
        return [f"{name}:", *(line for each in said.splitlines() for line in _command(each))]
    return wrap(
        said,
        WIDTH,
        initial_indent=f"{name}:".ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_on_hyphens=False,
    )


def _command(command: str) -> list[str]:
    """Return a command as lines that a shell reads as one, broken before options alone."""
    first, *options = re.split(r" (?=--)", command)
    lines = [f"  {first}"]
    for option in options:
        if len(lines[-1]) + len(option) + 3 <= WIDTH:
            lines[-1] += f" {option}"
        else:
            lines.append(f"    {option}")
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _tasks(tasks: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Yield a line or more for each task: columns as wide as their longest name, none cut."""
    widths = [
        min(most, max(len(task[place]) for task in tasks)) for place, most in enumerate(_NAMES)
    ]
    widths.append(WIDTH - 6 - sum(widths))
    for task in tasks:
        cells = (
            wrap(text, width, break_on_hyphens=False)
            for text, width in zip(task, widths, strict=True)
        )
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            yield f"  {'  '.join(padded)}"
