"""Rows of a leaderboard in formats that others read.

- *Every Eval Ever*, the schema of the EvalEval Coalition, version 0.3.0
  (github.com/evaleval/every_eval_ever, `every_eval_ever/schemas/eval.schema.json` of 2026-08-13):
  one JSON file for each backbone and method, in `data/gapbench/<backbone>/<method>/`.
- *`.eval_results`* of the Hugging Face hub (github.com/huggingface/hub-docs, `eval_results.yaml`
  of 2026-08-22): one YAML file for each backbone and method, to be put into the repository of a
  model. Only tasks whose data are on the hub can be in it.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gapbench.bench.config.task_sources import HubSource
from gapbench.bench.core.errors import StoreError
from gapbench.bench.core.files import path_part
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.record import Record
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label

SCHEMA_VERSION = "0.3.0"

_ORGANISATION = "gapbench"
_CONFIDENCE = 0.95


def write(results: LoadedResults, summary: pd.DataFrame, out: Path, form: str) -> list[Path]:
    """Write the rows of a results folder that have a score; return the files.

    Args:
        results: the folder.
        summary: the table of `reports.tables.summary.summarise`.
        out: folder to write to, created where needed.
        form: "every-eval-ever" or "eval-results".

    Raises:
        StoreError: if no row can be written, or ``out`` cannot.
    """
    make: Make = {"every-eval-ever": _every_eval_ever, "eval-results": _eval_results}[form]
    files = dict(_files(results, summary, make))
    if not files:
        lacking = " on data of the hub" if form == "eval-results" else ""
        raise StoreError(f"results folder {results.store.root} has no row with a score{lacking}")
    try:
        for name, text in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        why = f"{out} cannot be written: {error.strerror}; give another folder"
        raise StoreError(why) from None
    return [out / name for name in files]


Make = Callable[[LoadedResults, "list[tuple[Any, Record]]"], "tuple[str, str] | None"]


def _files(results: LoadedResults, summary: pd.DataFrame, make: Make) -> Iterator[tuple[str, str]]:
    """Yield the name and content of the file of each backbone, start, method and its settings."""
    groups: dict[tuple[str, ...], list[tuple[Any, Record]]] = {}
    for row in rows(summary):
        record = results.cells.get(row.config_hash)
        if record is not None and row.n_seeds:
            settings = record.cell.model_dump_json(include={"config", "training", "budget"})
            key = (row.suite, row.backbone, row.start, row.method, row.variant, settings)
            groups.setdefault(key, []).append((row, record))
    for group in groups.values():
        if (made := make(results, group)) is not None:
            yield made


def _every_eval_ever(results: LoadedResults, group: list[tuple[Any, Record]]) -> tuple[str, str]:
    first, record = group[0]
    cells = [row.config_hash for row, _ in group]
    times = results.runs.loc[results.runs["config_hash"].isin(cells), "started_at"]
    began = sorted(filter(None, times))
    own = uuid.UUID(bytes=_digest([first.suite, cells, began])[:16], version=4)
    name = label(first.method, first.variant)
    content = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"gapbench/{first.backbone}/{path_part(name)}/{own}",
        "evaluation_timestamp": began[0],
        "retrieved_timestamp": f"{datetime.fromisoformat(began[-1]).timestamp():.0f}",
        "source_metadata": {
            "source_name": "gapbench",
            "source_type": "evaluation_run",
            "source_organization_name": _ORGANISATION,
            "evaluator_relationship": "third_party",
            "additional_details": {"suite": first.suite or "none", "protocol": first.protocol},
        },
        "eval_library": {
            "name": "gapbench",
            "version": _version(record),
        },
        "model_info": {
            "name": f"{first.backbone} fine-tuned by {name}",
            "id": first.backbone,
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "method": first.method,
                "variant": first.variant,
                "settings": json.dumps(record.cell.config, sort_keys=True),
                "training": record.cell.training.model_dump_json(),
                "budget": record.cell.budget.model_dump_json(exclude_none=True),
                "backbone_digest": record.cell.backbone.digest,
            },
        },
        "evaluation_results": [_result(row, each) for row, each in group],
    }
    place = f"data/gapbench/{path_part(first.backbone)}/{path_part(name)}/{own}.json"
    return place, json.dumps(content, indent=1, allow_nan=False) + "\n"


def _result(row: Any, record: Record) -> dict[str, Any]:
    metric = get_metric(row.metric)
    low, high = (_bound(end) for end in metric.range)
    uncertainty: dict[str, Any] = {"num_samples": int(row.n_seeds)}
    if pd.notna(row.score_ci_low):
        uncertainty["confidence_interval"] = {
            "lower": float(row.score_ci_low),
            "upper": float(row.score_ci_high),
            "confidence_level": _CONFIDENCE,
            "method": f"over {row.score_ci_over}",
        }
    return {
        "evaluation_result_id": row.config_hash,
        "evaluation_name": f"gapbench.{row.task}",
        "source_data": _source(record),
        "metric_config": {
            "evaluation_description": record.cell.task.description,
            "metric_id": row.metric,
            "metric_name": row.metric,
            "lower_is_better": not metric.higher_is_better,
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
        },
        "score_details": {
            "score": float(row.score),
            "details": {"mean over seeds": ", ".join(map(str, _ended(row)))}
            | ({"lost runs": lost} if (lost := _lost(row)) else {}),
            "uncertainty": uncertainty,
        },
    }


def _ended(row: Any) -> list[int]:
    """Return the seeds that have scores of their own."""
    return sorted(set(row.by_seed) - set(row.lost))


def _lost(row: Any) -> str:
    """Return what the lost runs count as in the mean, "" if none does."""
    return str(row.standing.why[row.name]) if set(row.by_seed) & set(row.lost) else ""


def _version(record: Record) -> str:
    return record.provenance.versions.get("gapbench", "unknown")


def _bound(end: float) -> float | str:
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(end, end)


def _source(record: Record) -> dict[str, Any]:
    source, task = record.cell.task.source, record.cell.task
    details = {"data_digest": record.cell.data.digest, "task_version": str(task.version)}
    if isinstance(source, HubSource):
        details["revision"] = source.revision
        if source.config:
            details["config"] = source.config
        if task.test_size is not None:
            details["test_size"] = str(task.test_size)  # a part of the split
        return {
            "dataset_name": task.name,
            "source_type": "hf_dataset",
            "hf_repo": source.hub,
            "hf_split": task.splits.test,
            "additional_details": details,
        }
    return {"dataset_name": task.name, "source_type": "other", "additional_details": details}


def _eval_results(
    results: LoadedResults,  # noqa: ARG001 - one form for both
    group: Sequence[tuple[Any, Record]],
) -> tuple[str, str] | None:
    entries = []
    for row, record in group:
        source = record.cell.task.source
        if isinstance(source, HubSource):
            lost = f", {_lost(row)}" if _lost(row) else ""
            interval = ""
            if pd.notna(row.score_ci_low):
                interval = f", 95 % interval {row.score_ci_low:.4f} to {row.score_ci_high:.4f}"
            entries.append(
                {
                    "dataset": {
                        "id": source.hub,
                        "task_id": source.config or row.task,
                        "revision": source.revision,
                    },
                    "value": round(float(row.score), 6),
                    "date": record.provenance.started_at.date().isoformat(),
                    "notes": f"gapbench {_version(record)}: {label(row.method, row.variant)}; "
                    f"{row.metric} on {_tested(record)}, mean of {row.n_seeds} "
                    f"seeds{lost}{interval}",
                }
            )
    if not entries:
        return None
    first = group[0][0]
    name = path_part(label(first.method, first.variant))
    # Other variants, suites and starts may have the same name in paths.
    own = _digest([first.suite, first.start, *(row.config_hash for row, _ in group)]).hex()[:8]
    place = f"{path_part(first.backbone)}/.eval_results/gapbench_{name}_{own}.yaml"
    return place, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def _tested(record: Record) -> str:
    """Return the name of the test split, with the number of its examples if that is a part."""
    task = record.cell.task
    part = "" if task.test_size is None else f"{task.test_size} examples of "
    return part + task.splits.test


def _digest(identity: list[Any]) -> bytes:
    return hashlib.sha256(json.dumps(identity).encode()).digest()
