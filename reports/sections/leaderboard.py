"""The scores of all methods, a table per task, and averages over tasks."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from gapbench.reports.document.columns import (
    NOTHING,
    Field,
    best_possible,
    ends,
    heading,
    plain,
    shortened,
    table_of,
    title,
    value,
)
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Column, Part, Section, Text, Value
from gapbench.reports.tables.glue_average import averages
from gapbench.reports.tables.leaderboard import leaderboard, rows
from gapbench.reports.tables.terminal import label

ORDER = 20

FIELDS = (
    plain(
        "group",
        "1: beaten by no other row; else one more than the rows that beat it",
        "rank_group",
        0,
    ),
    plain("score", "mean test score over seeds", "score"),
    ends(
        "95 %",
        "interval of the score, over seeds and test items; over seeds alone where single items are "
        "unknown",
        "score_ci_low",
        "score_ci_high",
    ),
    plain("seeds", "seeds with a score", "n_seeds", 0),
    plain(
        "gap",
        "train minus test score; sign flipped where lower is better",
        "generalization_gap",
    ),
    ends(
        "gap 95 %",
        "of the gap, over seeds and, where they are known, items",
        "gap_ci_low",
        "gap_ci_high",
    ),
    plain("loss gap", "test minus train loss", "loss_gap"),
    plain("ECE", "expected calibration error before temperature scaling", "ece"),
    shortened("seconds", "training seconds per run", "train_seconds"),
    shortened("tokens/s", "training tokens per second", "tokens_per_second"),
    shortened("MiB", "peak memory", "peak_memory_bytes", 2**20),
    shortened("params", "trainable parameters", "trainable_params"),
    shortened("FLOPs", "floating-point operations of training", "train_flops"),
    plain(
        "failed",
        "runs that failed, diverged or ran out of memory",
        "n_failed",
        0,
    ),
)
_TUNED = (
    plain("default", "of a tuned row: test score of the method's own settings", "default"),
    plain("gain", "tuned minus default, seed by seed; flipped where lower is better", "gain.mean"),
    ends("gain 95 %", "paired interval, over seeds and known test items", "gain.low", "gain.high"),
)
_PUBLISHED = Field(
    Column("published", "what a paper prints; its source stands below; ?: from memory"),
    lambda pair: value(pair.figure.value, pair.figure.text),
)
_BAYES = {"score": "score", "ECE": "ece"}
_HOW = (
    "Scores are means over seeds at the checkpoint that validation chose. Group 1 holds the "
    "methods that no other one beats, by the simultaneous intervals of their differences. An "
    "interval or group is empty where the runs cannot give one."
)
_PAPER = (
    "Rows marked [paper] follow the papers' protocol: their checkpoint was chosen on the test "
    "split, so their scores flatter."
)
_AVERAGE = (
    "Mean over the nine tasks, each a stratum of its own; several metrics or test sets of a task "
    "are averaged first. Its seeds are the fewest of any task."
)


def section(evidence: Evidence) -> Section:
    """Return the section."""
    parts: list[Part] = [Text(_HOW, quiet=True)]
    if (evidence.summary["protocol"] == "paper").any():
        parts.append(Text(_PAPER))
    for block in evidence.blocks:
        fields = (*FIELDS, *_beside(evidence, block))
        footer = best_possible(evidence, block, fields, _BAYES)
        name = f"Leaderboard: {title(block)}"
        parts += [heading(block, measured=True), table_of(block, name, fields, evidence, footer)]
    return Section("leaderboard", "Leaderboard", (*parts, *_averages(evidence)))


def _beside(evidence: Evidence, block: pd.DataFrame) -> Iterator[Field]:
    """Yield what some rows have beside their scores: the default of tuned ones, a published one."""
    studies = {each.row: each for each in reversed(evidence.studies)}
    keys = {
        _name(row): (row.suite, row.task, row.backbone, row.start, row.method, row.variant)
        for row in rows(block)
    }
    tuned = {name: studies[key] for name, key in keys.items() if key in studies}
    if tuned:
        yield from (_of(field, tuned) for field in _TUNED)
    pairs = [pair for pair in reversed(evidence.published) if pair.main]
    printed = {(pair.config_hash, pair.name): pair for pair in pairs}
    if not printed.keys().isdisjoint(keys):
        yield _of(_PUBLISHED, printed)


def _name(row: Any) -> tuple[str, str]:
    return row.config_hash, label(row.method, row.variant)


def _of(field: Field, found: Mapping[tuple[str, str], Any]) -> Field:
    """Return a field that reads what was found for a row in place of the row."""

    def shown(row: Any) -> Value:
        beside = found.get(_name(row))
        return NOTHING if beside is None else field.read(beside)

    return Field(field.column, shown)


def _averages(evidence: Evidence) -> list[Part]:
    """Return a table for every average over tasks."""
    parts: list[Part] = []
    found = averages(leaderboard(evidence.summary), evidence.suite_summaries)
    for _, block in found.groupby(["suite", "backbone"], sort=False):
        name = f"Leaderboard: {title(block)}"
        parts += [heading(block), Text(_AVERAGE, quiet=True)]
        parts.append(table_of(block, name, FIELDS, evidence))
    return parts
