"""The report as one self-contained HTML page: no network, no script beyond sorting tables.

This module prepares what `templates/report.html` lays out. The template escapes all text; the only
markup passed to it are the figures, in which matplotlib has escaped all text.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.average import averages
from reports.beside import Pair
from reports.cells import Column, Line, ends, line, markup, plain, shortened
from reports.figures import canvas
from reports.figures.costs import throughput
from reports.figures.curves import gap_curves, reliability_diagrams
from reports.leaderboard import BLOCK, PAPER, leaderboard, rows
from reports.load import Results
from reports.notes import Finding, findings
from reports.published import DIGITS
from reports.text import label, number, place
from reports.tuning import Tuned
from reports.tuning_section import COST, OUTCOME, tuning_blocks
from reports.verdict import verdict


@dataclass(frozen=True)
class Block:
    """What the page says of one task on one backbone, of rows that may be compared."""

    title: str
    metric: str
    verdicts: list[str]
    leaderboard: list[Line]
    calibration: list[Line]
    bounds: dict[str, str]
    gap_figure: Markup | None
    reliability_figure: Markup | None
    terms: dict[str, str]
    findings: list[Finding]


LEADERBOARD: tuple[Column, ...] = (
    ("group", "tie group: 1 is the best and all not told apart from it", plain("rank_group", 0)),
    ("score", "mean test score over seeds", plain("score")),
    ("95 %", "Student t interval of the score over seeds", ends("score_ci_low", "score_ci_high")),
    ("seeds", "seeds with a score", plain("n_seeds", 0)),
    (
        "gap",
        "train minus test score; sign flipped where lower is better",
        plain("generalization_gap"),
    ),
    ("gap 95 %", "Student t interval of the gap over seeds", ends("gap_ci_low", "gap_ci_high")),
    ("loss gap", "test minus train loss", plain("loss_gap")),
    ("ECE", "expected calibration error before temperature scaling", plain("ece")),
    ("seconds", "training seconds per run", shortened("train_seconds")),
    ("tokens/s", "training tokens per second", shortened("tokens_per_second")),
    ("MiB", "peak memory", shortened("peak_memory_bytes", 2**20)),
    ("params", "trainable parameters", shortened("trainable_params")),
    ("FLOPs", "floating-point operations of training", shortened("train_flops")),
    (
        "failed",
        "runs that failed, diverged, ran out of memory or were interrupted",
        plain("n_failed", 0),
    ),
)
CALIBRATION: tuple[Column, ...] = (
    ("ECE", "expected calibration error, 15 bins of equal width", plain("ece")),
    (
        "ECE, scaled",
        "after scaling by the temperature fitted on validation",
        plain("ece_calibrated"),
    ),
    ("temperature", "above 1: the model was overconfident", plain("temperature", 2)),
    ("Brier", "squared error of the probabilities", plain("brier")),
    ("NLL", "negative log-likelihood, nats", plain("nll")),
)


def page(
    results: Results,
    summary: pd.DataFrame,
    published: Sequence[Pair],
    studies: Sequence[Tuned],
) -> str:
    """Return the report.

    Args:
        results: a loaded results folder.
        summary: its `summarise` table.
        published: figures of papers beside its rows.
        studies: what was tuned.
    """
    methods = {*summary["method"], *(each.summary.study.method for each in studies)}
    colours = canvas.colours(sorted(methods))
    blocks = [_block(results, block, colours) for _, block in summary.groupby(BLOCK, sort=False)]
    machines = summary[summary["machine"] != ""].groupby("machine", sort=True)
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        blocks=blocks,
        averages=_averages(results, summary, colours),
        leaderboard_columns=LEADERBOARD,
        calibration_columns=CALIBRATION,
        costs=[markup(throughput(table, colours)) for _, table in machines],
        n_machines=len(machines),
        published=published,
        tuning=tuning_blocks(studies, colours),
        tuning_outcome=OUTCOME,
        tuning_cost=COST,
        measured=lambda pair: number(pair.measured, DIGITS),
        statuses=results.runs["status"].value_counts().to_dict(),
        troubles=_troubles(results.runs),
        unreadable=results.unreadable,
        versions=_versions(results.runs),
        origins=[_origin(results, row) for row in rows(summary)],
        paper=bool((summary["protocol"] == "paper").any()),
        light=Markup(canvas.css("light")),  # noqa: S704 - constants of the program
        dark=Markup(canvas.css("dark")),  # noqa: S704 - constants of the program
    )


def _averages(
    results: Results, summary: pd.DataFrame, colours: dict[str, str]
) -> list[tuple[str, list[Line]]]:
    """Return title and rows of every average over tasks."""
    table = averages(leaderboard(summary), results.runs)
    return [
        (f"{_where(block)} (suite {suite})", _lines(block, LEADERBOARD, colours))
        for (suite, _), block in table.groupby(["suite", "backbone"], sort=False)
    ]


def _where(block: pd.DataFrame) -> str:
    first = next(rows(block))
    return place(first.task, first.backbone, getattr(first, "start", ""))


def _block(results: Results, block: pd.DataFrame, colours: dict[str, str]) -> Block:
    first = next(rows(block))
    metrics = block.loc[block["metric"] != "", "metric"]
    upward = bool(block["higher_is_better"].fillna(value=True).all())
    direction = "higher is better" if upward else "lower is better"
    where = _where(block)
    calibrated = block[block["ece"].notna()]
    return Block(
        title=f"{where} (suite {first.suite})" if first.suite else f"{where} (in no suite)",
        metric=f"{metrics.iloc[0]}, {direction}" if len(metrics) else "",
        verdicts=verdict(block),
        leaderboard=_lines(block, LEADERBOARD, colours),
        calibration=_lines(calibrated, CALIBRATION, colours),
        bounds=_bounds(results, block),
        gap_figure=markup(gap_curves(results, block, colours)),
        reliability_figure=markup(reliability_diagrams(results, block, colours)),
        terms=_terms(results, block),
        findings=findings(results, block),
    )


def _lines(block: pd.DataFrame, columns: tuple[Column, ...], colours: dict[str, str]) -> list[Line]:
    return [
        line(label(row.method, row.variant), colours[row.method], row, columns)
        for row in rows(block)
    ]


def _bounds(results: Results, block: pd.DataFrame) -> dict[str, str]:
    """Return what the Bayes-optimal predictor scores, by table heading; empty where unknown."""
    hashes = [run for runs in block["ok_runs"] for run in runs.values()]
    known = results.runs[results.runs["run_hash"].isin(hashes)].dropna(subset=["bayes_score"])
    if known.empty:
        return {}
    best = known.iloc[0]
    fields = {"score": "score", "ECE": "ece", "Brier": "brier", "NLL": "nll"}
    return {heading: number(best[f"bayes_{field}"]) for heading, field in fields.items()}


def _terms(results: Results, block: pd.DataFrame) -> dict[str, str]:
    """Return what all rows of a block share."""
    known = [name for name in block["config_hash"] if name in results.cells]
    if not known:
        return {}
    record = results.cells[known[0]]
    cell, budget = record.cell, record.cell.budget
    length = f"{budget.steps} steps" if budget.steps else f"{budget.epochs:g} epochs"
    shared = [f"{split} {count}" for split, count in record.leaked.items()]
    sizes = [f"{split} {scores.examples}" for split, scores in record.splits.items()]
    return {
        "protocol": cell.protocol,
        "budget": f"{length} of {budget.batch_size} examples, {budget.evaluations} evaluations",
        "examples scored": ", ".join(sizes),
        "inputs shared with train": ", ".join(shared) or "not counted",
        "backbone dropout, precision": f"{cell.backbone_dropout:g}, {cell.precision}",
        "task": f"{cell.task.name} version {cell.task.version}",
        "data": f"{cell.data.name} {cell.data.digest[:16]}",
        "backbone": f"{cell.backbone.name} {cell.backbone.digest[:16]}",
        **({"start": f"{cell.start.name} {cell.start.digest}"} if cell.start else {}),
    }


def _troubles(runs: pd.DataFrame) -> list[tuple[str, str, str, str, str]]:
    """Return runs without a score as (place, name, status, reason, seeds), alike ones together."""
    undefined = (runs["status"] == "ok") & runs["test_score"].isna()
    runs = runs[(runs["status"] != "ok") | undefined]
    runs = runs.assign(status=runs["status"].where(runs["status"] != "ok", "ok, no score"))
    runs = runs.assign(
        detail=runs["detail"].where(
            runs["status"] != "ok, no score", "its main metric is not defined on its predictions"
        )
    )
    places = ["suite", "task", "backbone", "start"]
    keys = [*places, "method", "variant", "protocol", "status", "detail"]
    groups = []
    for key, alike in runs.groupby(keys, sort=False):
        _, *where, method, variant, protocol, status, detail = map(str, key)
        name = label(method, variant) + (PAPER if protocol == "paper" else "")
        seeds = ", ".join(str(seed) for seed in sorted(alike["seed"]))
        groups.append((place(*where), name, status.replace("_", " "), detail, seeds))
    return groups


def _versions(runs: pd.DataFrame) -> dict[str, str]:
    """Return the distinct values of what every record says about where it comes from."""
    fields = {
        "gapbench": "gapbench",
        "torch": "torch",
        "device": "device",
        "code hash": "code_hash",
        "git commit": "git_commit",
    }
    found = {name: sorted(set(runs[field]) - {""}) for name, field in fields.items()}
    return {name: ", ".join(values) for name, values in found.items() if values}


def _origin(results: Results, row: Any) -> tuple[str, str, str, str, str]:
    """Return (place, name, config hash, settings, command) of one leaderboard row."""
    record = results.cells.get(row.config_hash)
    where = place(row.task, row.backbone, row.start)
    name = label(row.method, row.variant)
    if record is None:
        return where, name, row.config_hash, "", ""
    training = record.cell.training.model_dump(mode="json", exclude_none=True)
    settings = json.dumps(record.cell.config | training)[1:-1].replace('"', "")
    command = f"gapbench reproduce {shlex.quote(str(results.store.record_path(record.run)))}"
    return where, name, row.config_hash, settings, command
