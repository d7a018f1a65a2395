"""Runs that have no score, and why."""

import pandas as pd

from gapbench.reports.document.columns import facets, read, table, title, worded
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Part, Row, Section, Subheading, Text
from gapbench.reports.prose.not_compared import by_reason
from gapbench.reports.tables.leaderboard import PAPER, rows
from gapbench.reports.tables.row_status import that_train
from gapbench.reports.tables.terminal import label, place
from gapbench.reports.tables.words import listed

ORDER = 80

_NO_SCORE = "ok, no score"
_FIELDS = (
    worded("method", "", lambda run: label(run.method, run.variant)),
    worded("status", "", lambda run: run.status.replace("_", " ")),
    worded("reason", "", lambda run: run.detail),
    worded("seeds", "", lambda run: run.seeds),
)


def section(evidence: Evidence) -> Section:
    """Return the section; it says so where every planned run ended well."""
    lines = [
        Row(
            place(run.task, run.backbone, run.start),
            read(run, _FIELDS),
            evidence.colours[run.method],
            facets(run),
        )
        for run in rows(_troubles(evidence.results.runs))
    ]
    parts: list[Part] = [Text("Every planned run ended well.")]
    if lines:
        parts = [table("Runs without a score", "task", _FIELDS, lines)]
    if left_out := _left_out(evidence):
        parts += [Subheading("Left out of comparisons"), Bullets(tuple(left_out))]
    if evidence.results.unreadable:
        parts += [Subheading("Unreadable records"), Bullets(tuple(evidence.results.unreadable))]
    return Section("failures", "Failures, skips and missing runs", tuple(parts))


def _troubles(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs without a score, those that differ in nothing but the seed in one row."""
    undefined = (runs["status"] == "ok") & runs["test_score"].isna()
    runs = runs[(runs["status"] != "ok") | undefined]
    reason = "its main metric is not defined on its predictions"
    scored = runs["status"] != "ok"
    runs = runs.assign(
        status=runs["status"].where(scored, _NO_SCORE),
        detail=runs["detail"].where(scored, reason),
        variant=runs["variant"].where(
            runs["protocol"] != "paper", (runs["variant"] + PAPER).str.strip()
        ),
    )
    keys = ["suite", "task", "backbone", "start", "method", "variant", "status", "detail"]
    alike = runs.groupby(keys, sort=False)["seed"]
    return alike.agg(lambda seeds: ", ".join(map(str, sorted(seeds)))).reset_index(name="seeds")


def _left_out(evidence: Evidence) -> list[str]:
    """Say which rows and seeds have no part in a test, though their runs may have a score."""
    scored = evidence.summary[evidence.summary["n_seeds"] > 0]
    trained = that_train(scored)
    found = []
    if references := sorted(set(scored["method"]) - set(trained["method"])):
        found.append(f"Not ranked, since nothing is trained: {listed(references)}.")
    found += _not_compared(evidence)
    if unequal := [title(board) for board in evidence.boards if _unequal(board)]:
        found.append(f"{listed(unequal)}: rows differ in their seeds; pairs meet on common ones.")
    strays = evidence.results.runs["suite"] == ""
    if strays.any():
        count = int(strays.sum())
        said = (
            "run: no plan wants it; it is" if count == 1 else "runs: no plan wants them; they are"
        )
        found.append(f"{count} {said} compared apart.")
    return found


def _not_compared(evidence: Evidence) -> list[str]:
    """Name the rows that a verdict keeps out of its comparisons, with the reason, task by task."""
    found = []
    for board, verdict in zip(evidence.boards, evidence.by_board, strict=True):
        if verdict.kept_out:
            found.append(f"{title(board)}: {by_reason(verdict.kept_out, several=False)}.")
    return found


def _unequal(board: pd.DataFrame) -> bool:
    """Whether the trained rows of a board have scores of different seeds."""
    trained = that_train(board[board["n_seeds"] > 0])
    return len({frozenset(by_seed) for by_seed in trained["by_seed"]}) > 1
