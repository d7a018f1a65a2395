"""The leaderboard as plain text, and the words and numbers that text and page share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import fill, wrap
from typing import Any

import pandas as pd

from gapbench.bench.core.errors import printable
from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.tables.leaderboard import BOARD, PAPER, rows
from gapbench.reports.tables.row_status import that_train

WIDTH = 80
"""Most columns of what is printed to a terminal."""
VS_REFERENCE = "vs. ref."
"""The heading of the difference to the reference."""
JUDGED = {"rating": "rated 1 to 10", "win_rate": "share of pairs won"}
"""What judges were asked for."""


def format_table(table: pd.DataFrame, machines: Mapping[str, str] | None = None) -> str:
    """Return the leaderboard as aligned plain text of at most `WIDTH` columns, a part per task.

    Args:
        table: the columns of the leaderboard, in its row order.
        machines: by the hash of a row, where it ran; "" if in several places. None: no seconds are
            compared.
    """
    found = ["\n".join(_part(*each, machines or {})) for each in parts(table)]
    against = against_reference(table, "^ shown to be better, v worse")
    notes = ["* beaten by no other method.", *against, *meaning(table)]
    below = fill(" ".join(notes), WIDTH, break_on_hyphens=False)
    return "\n\n".join([*found, below]) + "\n" if found else "No runs.\n"


def format_second_tests(table: pd.DataFrame) -> str:
    """Return second tests as plain text, a part for each task and test; "" if there are none.

    Args:
        table: of `reports.tables.second_tests.second_tests`.
    """
    found: list[str] = []
    for _, part in table.groupby([*BOARD, "test"], sort=False):
        first = part.iloc[0]
        also = f"also tested on {first['test']} {metric_in_words(first['metric'])}"
        found.append(_titled(first, also))
        known = None if part["change"].notna().any() else -2  # without the columns of the change
        found.append(_line(_TESTED_HEAD[:known], _TESTED_WIDTHS[:known]))
        for row in rows(part):
            difference = signed(row.vs_reference)
            cells = (
                "",
                fitted(row.name, _TESTED_WIDTHS[1]),
                str(row.n_seeds),
                number(row.score),
                _ends(row.score_ci_low, row.score_ci_high),
                difference + (_MARKS.get(row.vs_reference_claim, " ") if difference else ""),
                signed(row.change),
                _ends(row.change_ci_low, row.change_ci_high),
            )
            found.append(_line(cells[:known], _TESTED_WIDTHS[:known]))
        found += [*(line for each in unscored(part) for line in wrap(each, WIDTH)), ""]
    if found and table["change"].notna().any():
        found += ["Change: score minus that of the backbone without any adapter.", ""]
    return "\n".join(found)


def unscored(table: pd.DataFrame) -> list[str]:
    """Return which scores a second test lacks, a sentence for each row that lacks any."""
    return [f"{row.name}: {row.missing}." for row in rows(table) if row.missing]


def format_judgements(table: pd.DataFrame) -> str:
    """Return what judges say as plain text, a part for each test and question; "" if nothing.

    Args:
        table: of `reports.tables.judgements.judged_answers`.
    """
    found: list[str] = []
    for _, part in table.groupby([*BOARD, "test", "metric"], sort=False):
        first = part.iloc[0]
        on = "" if first["test"] == "test" else f" on {first['test']}"
        judges = f"{first['n_judges']} judge{'' if first['n_judges'] == 1 else 's'}"
        also = f"{JUDGED[first['metric']]}{on}: {judges}, {first['n_items']} items"
        found.append(_titled(first, also))
        found.append(_line(_TESTED_HEAD[:-2], _TESTED_WIDTHS[:-2]))
        found += [
            _line(
                (
                    "",
                    fitted(row.name, _TESTED_WIDTHS[1]),
                    str(row.n_seeds),
                    number(row.score),
                    _ends(row.score_ci_low, row.score_ci_high),
                    signed(row.vs_reference) + _MARKS.get(row.vs_reference_claim, " "),
                ),
                _TESTED_WIDTHS[:-2],
            )
            for row in rows(part)
        ]
        found.append("")
    if (table["metric"] == "win_rate").any():
        found += ["Pairs are with the reference; their vs. ref. is the share minus 0.5.", ""]
    return "\n".join(found)


def _titled(row: Any, also: str) -> str:
    """Return where a row stands and what is said of it, the latter in full."""
    where = fitted(" | ".join(_where(row)), max(WIDTH - len(also) - 3, 20))
    return printable(f"{where} | {also}")


def _ends(low: Any, high: Any) -> str:
    return f"{number(low)} .. {number(high)}" if pd.notna(low) else ""


def parts(table: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Yield the rows of a leaderboard that are compared, with where they meet and their metric.

    Where a task was run under several settings, each has its own part, which says what differs.

    Args:
        table: the columns of the leaderboard, in its row order.
    """
    for _, part in table.groupby([name for name in BOARD if name in table], sort=False):
        first = part.iloc[0]
        metrics = " ".join(map(metric_in_words, sorted(set(part["metric"]) - {""})))
        yield [*_where(first), *filter(None, (metrics, first.get("differs", "")))], part


def _where(row: Any) -> Iterator[str]:
    """Yield the suite, task and backbone of a row, and the adapter that it starts from, if any."""
    yield from (row["suite"] or "(no suite)", row["task"], row["backbone"])
    if row.get("start"):
        yield f"from {row['start']}"


def against_reference(table: pd.DataFrame, reading: str) -> list[str]:
    """Return a sentence on the differences to the reference, none where there is no reference."""
    references = sorted(set(table["reference"]) - {""})
    if not references:
        return []
    shown = {label(row.method, row.variant) for row in rows(table)}
    told = [name if name in shown else f"{name}, which is not shown" for name in references]
    return [f"{VS_REFERENCE}: score minus that of {', '.join(told)}; {reading}."]


def meaning(table: pd.DataFrame) -> list[str]:
    """Return what the numbers of a leaderboard are, a sentence each.

    Args:
        table: the columns of the leaderboard.
    """
    sentences = [
        "Intervals: 95 %, over seeds and test items.",
        "Gap: train minus test score.",
        "ECE: before temperature scaling.",
        "FLOPs: of training.",
    ]
    if table["variant"].str.endswith(PAPER.strip()).any():
        sentences += [f"{PAPER.strip()}: checkpoint chosen on the test split; such scores flatter."]
    return sentences


def number(value: Any, digits: int = 3) -> str:
    """Return a number with fixed decimals; "" if none.

    Args:
        value: a number, None, NaN or NA.
        digits: decimals; what rounds to zero shows as zero.
    """
    if value is None or pd.isna(value):
        return ""
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.{digits}f}"
    return text if text.strip("-0.") else text.removeprefix("-")


def signed(value: Any, digits: int = 3) -> str:
    """Return a difference with its sign; "" if none."""
    text = number(value, digits)
    return f"+{text}" if text.strip("-0.,") and not text.startswith("-") else text


def label(method: str, variant: str) -> str:
    """Return the name of a cell among others: its method and, where it has one, its variant."""
    plain = variant.removesuffix(PAPER.strip()).strip()
    mark = PAPER if variant.endswith(PAPER.strip()) else ""
    return (method if plain in {"", "default"} else f"{method} / {plain}") + mark


def place(task: str, backbone: str, start: str = "") -> str:
    """Return where methods meet: task, backbone, and the adapter they start from, if any."""
    return f"{task} on {backbone}" + (f", from {start}" if start else "")


def too_few(table: pd.DataFrame) -> str:
    """Say whether the seeds of one task are too few for a verdict, and what to do; "" if not."""
    scored = that_train(table[table["n_seeds"] > 0])
    if scored.empty:
        return "No trained method of this task has a score yet."
    if (scored["n_seeds"] < 2).all():
        return "Too few seeds for a verdict: one seed gives no interval. Run 5 or more (--seeds 5)."
    return ""


_HEAD = ("", "method", "seeds", "score", "95 %", VS_REFERENCE, "gap", "ECE", "FLOPs")
_WIDTHS = (1, 19, 5, 7, 15, 8, 7, 5, 5)
_TESTED_HEAD = ("", "method", "seeds", "score", "95 %", VS_REFERENCE, "change", "95 %")
_TESTED_WIDTHS = (1, 14, 5, 7, 15, 8, 7, 16)
_MARKS = {"better": "^", "worse": "v"}


def _part(title: list[str], table: pd.DataFrame, machines: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of one task."""
    whole = " | ".join(title)
    if len(whole) > WIDTH:  # what it differs in from another part may be long
        *title, last = title
        yield printable(fitted(" | ".join(title), WIDTH))
        whole = last
    yield printable(fitted(whole, WIDTH))
    yield _line(_HEAD)
    found = list(rows(table))
    names = [label(row.method, row.variant) for row in found]
    shown = told_apart(names, lambda name: fitted(name, _WIDTHS[1]))
    for row, name in zip(found, shown, strict=True):
        interval = f"{number(row.score_ci_low)} .. {number(row.score_ci_high)}"
        difference = signed(row.vs_reference)
        yield _line(
            (
                "*" if pd.notna(row.rank_group) and row.rank_group == 1 else "",
                name,
                str(row.n_seeds),
                number(row.score),
                interval if pd.notna(row.score_ci_low) else "",
                difference + (_MARKS.get(row.vs_reference_claim, " ") if difference else ""),
                number(row.generalization_gap),
                number(row.ece),
                short(row.train_flops),
            )
        )
    if scoring := _scoring(shown, found, machines):
        yield from wrap(scoring, WIDTH)
    if failed := int(table["n_failed"].sum()):
        yield f"{failed} run{'' if failed == 1 else 's'} failed; see gapbench status."
    if warning := too_few(table):
        yield from wrap(warning, WIDTH)


def _scoring(names: Sequence[str], found: Sequence[Any], machines: Mapping[str, str]) -> str:
    """Say how long scoring took in the fastest and the slowest row; "" if machines differ."""
    pairs = zip(found, names, strict=True)
    timed = [(row, name) for row, name in pairs if pd.notna(row.evaluation_seconds)]
    places = {machines.get(row.config_hash, "") for row, _ in timed}
    if len(timed) < 2 or len(places) > 1 or "" in places:
        return ""
    (least, first), *_, (most, last) = sorted((row.evaluation_seconds, n) for row, n in timed)
    return printable(f"Scoring a run: {duration(least)} ({first}) to {duration(most)} ({last}).")


def short(value: Any) -> str:
    """Return a number in three digits, with a letter for thousands and more; "" if none."""
    if value is None or pd.isna(value):
        return ""
    rounded = float(f"{value:.3g}")  # first, or 999,600 would be a thousand thousands
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(rounded) >= factor:
            return f"{rounded / factor:#.3g}".removesuffix(".") + letter
    if 0 < abs(rounded) < 1e-4:
        text = f"{value:.6f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    return f"{rounded:.3g}"


def memory(value: Any) -> str:
    """Return a number of bytes in MiB or GiB; "" if none."""
    if value is None or pd.isna(value):
        return ""
    mib = value / 2**20
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:#.3g} GiB"


def duration(value: Any) -> str:
    """Return seconds as milliseconds, seconds, minutes or hours; "" if none."""
    if value is None or pd.isna(value):
        return ""
    if value < 1:
        less = f"{1000 * value:.0f} ms" if value >= 0.001 else "<1 ms"
        return less if value else "0 s"
    if value < 100:
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    if value < 6000:
        return f"{value / 60:.0f} min" if value >= 600 else f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h"


def fitted(name: str, width: int) -> str:
    """Shorten a label to a width, in its middle, as names of variants often differ at their end.

    Args:
        name: a `label`.
        width: most characters of the result.
    """
    if len(name) <= width:
        return name
    mark = PAPER if name.endswith(PAPER) else ""
    rest, room = name.removesuffix(mark), width - len(mark) - 1
    end = room // 3
    return f"{rest[: room - end]}~{rest[len(rest) - end :]}{mark}"


def told_apart(names: Sequence[str], shorten: Callable[[str], str]) -> list[str]:
    """Return shortened names; those that would be cut to one text get a number at their end.

    Args:
        names: labels; equal ones stay equal.
        shorten: cuts one of them.
    """
    shown = {name: shorten(name) for name in names}
    alike: dict[str, list[str]] = {}
    for name, text in shown.items():
        alike.setdefault(text, []).append(name)
    for text, group in alike.items():
        mark = PAPER if text.endswith(PAPER) else ""
        for place, name in enumerate(group, 1) if len(group) > 1 else ():
            tail = f"~{place}{mark}"
            shown[name] = text[: len(text) - len(tail)] + tail
    return [shown[name] for name in names]


def _line(texts: tuple[str, ...], widths: tuple[int, ...] = _WIDTHS) -> str:
    cells = (
        text.ljust(width) if place < 2 else text.rjust(width)
        for place, (text, width) in enumerate(zip(texts, widths, strict=True))
    )
    return printable(" ".join(cells).rstrip())
