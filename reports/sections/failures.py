"""Runs that have no score, and why."""

import pandas as pd

from reports.cells import facets, read, table, worded
from reports.document import Bullets, Part, Row, Section, Subheading, Text
from reports.evidence import Evidence
from reports.leaderboard import PAPER, rows
from reports.text import label, place

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
        variant=runs["variant"].where(runs["protocol"] != "paper", runs["variant"] + PAPER),
    )
    keys = ["suite", "task", "backbone", "start", "method", "variant", "status", "detail"]
    alike = runs.groupby(keys, sort=False)["seed"]
    return alike.agg(lambda seeds: ", ".join(map(str, sorted(seeds)))).reset_index(name="seeds")
