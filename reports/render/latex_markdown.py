"""The leaderboard for papers and pages: LaTeX with booktabs, Markdown as GitHub reads it.

Names are data: whatever they hold is escaped, and shows as it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd

from gapbench.bench.core.errors import printable
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import (
    VS_REFERENCE,
    against_reference,
    label,
    meaning,
    number,
    parts,
    short,
    too_few,
)
from gapbench.reports.tables.words import telling

HEADINGS = (
    "Method",
    "Seeds",
    "Group",
    "Score",
    "95 %",
    VS_REFERENCE,
    "Gap",
    "ECE",
    "Seconds",
    "FLOPs",
    "Parameters",
    "Failed",
)
_SCORE = HEADINGS.index("Score")

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row a bracket would be read as a length
    "]": "{]}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~#$&]")


def latex(table: pd.DataFrame, notes: list[str]) -> str:
    """Return a leaderboard as one `tabular` after a comment with what its caption should say.

    Args:
        table: the columns of the leaderboard, in its row order.
        notes: sentences to add to the comment.
    """
    across = len(HEADINGS)
    comment = ["Needs booktabs.", *_below(table)]
    lines = [rf"\begin{{tabular}}{{l{'r' * (across - 1)}}}", r"\toprule"]
    lines += [_latex_row(map(_escaped_latex, HEADINGS))]
    for title, part in parts(table):
        where = _escaped_latex(", ".join(title))
        lines += [r"\midrule", rf"\multicolumn{{{across}}}{{l}}{{\emph{{{where}}}}} \\"]
        lines += map(_latex_row, _texts(part, _escaped_latex, r"\textbf{%s}"))
        comment.append(f"{', '.join(title)}: {_seeds(part)}. {too_few(part)}")
    lines += [r"\bottomrule", r"\end{tabular}"]
    comment = [f"% {' '.join(line.split())}" for line in [*comment, *notes]]
    return "\n".join([*comment, *lines]) + "\n"


def markdown(table: pd.DataFrame, notes: list[str]) -> str:
    """Return a leaderboard as a Markdown table per task, with what it rests on below.

    Args:
        table: the columns of the leaderboard, in its row order.
        notes: sentences to add below.
    """
    blocks = []
    for title, part in parts(table):
        lines = [list(HEADINGS), ["---", *["---:"] * (len(HEADINGS) - 1)]]
        lines += _texts(part, _escaped_markdown, "**%s**")
        blocks.append("**" + _escaped_markdown(", ".join(title)) + "**")
        blocks.append("\n".join(f"| {' | '.join(texts)} |" for texts in lines))
        blocks.append(_escaped_markdown(too_few(part)))
    blocks.append(_escaped_markdown(" ".join([*_below(table), *notes])))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _below(table: pd.DataFrame) -> list[str]:
    """Return what stands below a table: what bold means, and what the numbers are."""
    reading = "its intervals hold together, and claim where they exclude zero"
    against = against_reference(table, reading)
    return ["Bold: no other method is shown to be better.", *against, *meaning(table)]


def _texts(part: pd.DataFrame, escaped: Callable[[str], str], bold: str) -> Iterator[list[str]]:
    """Yield what stands in the columns of each row, escaped, the best ones bold."""
    for row in rows(part):
        texts = [escaped(text) for text in _row(row)]
        if pd.notna(row.rank_group) and row.rank_group == 1:
            texts[0], texts[_SCORE] = bold % texts[0], bold % texts[_SCORE]
        yield texts


def _row(row: Any) -> tuple[str, ...]:
    ends = f"{number(row.score_ci_low)} to {number(row.score_ci_high)}"
    return (
        label(row.method, row.variant),
        str(row.n_seeds),
        number(row.rank_group, 0),
        number(row.score),
        ends if pd.notna(row.score_ci_low) else "",
        _difference(row),
        number(row.generalization_gap),
        number(row.ece),
        number(row.train_seconds, 1),
        short(row.train_flops),
        short(row.trainable_params),
        str(row.n_failed or ""),
    )


def _difference(row: Any) -> str:
    """Return the difference to the reference with the interval that makes claims."""
    if pd.isna(row.vs_reference):
        return ""
    if pd.isna(row.vs_reference_low):
        return number(row.vs_reference)
    digits = telling(row.vs_reference_low, row.vs_reference_high)
    low, high = (number(end, digits) for end in (row.vs_reference_low, row.vs_reference_high))
    return f"{number(row.vs_reference, digits)} ({low} to {high})"


def _seeds(part: pd.DataFrame) -> str:
    fewest, most = part["n_seeds"].min(), part["n_seeds"].max()
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def _latex_row(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"


def _escaped_latex(text: str) -> str:
    text = "".join(_LATEX.get(character, character) for character in _plain(text))
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", text)


def _escaped_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", _plain(text))


def _plain(text: str) -> str:
    return printable(" ".join(text.split()))
