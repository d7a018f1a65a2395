"""The interface of a tracker, and a stored run in the form that all trackers take."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from gapbench.bench.store.record import CurvePoint, Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.store.suite_plan import PlanRow

PROJECT = "gapbench"
"""Project, or experiment, of a tracker whose own variables name none."""

_TRACKED = {Status.OK, Status.DIVERGED, Status.PRUNED}
_CURVES = [(split, what) for what in ("score", "loss") for split in ("train", "validation", "test")]


@dataclass(frozen=True)
class TrackedRun:
    """A finished run, as trackers show it.

    Attributes:
        id: the run hash.
        name: for people; no other run has it.
        group: shared by the seeds of a cell.
        tags: suites that want the run, or the study that it is a trial of.
        place: path of its record in the results folder, without extension.
        ok: whether the run was trained to its end.
        started: when training began.
        settings: everything that decides the result, its origin, and the address of the record.
        curve: step and values at each evaluation point.
        scores: final scores, gaps, calibration and cost, by name.
    """

    id: str
    name: str
    group: str
    tags: tuple[str, ...]
    place: str
    ok: bool
    started: datetime
    settings: Mapping[str, Any]
    curve: Sequence[tuple[int, Mapping[str, float]]]
    scores: Mapping[str, float]

    @property
    def flat_settings(self) -> dict[str, str]:
        """The settings as text by dotted name."""
        return dict(_flat(self.settings))

    @property
    def points(self) -> Iterator[tuple[int, Mapping[str, float]]]:
        """The curve, with the final scores at its last step."""
        *earlier, (step, last) = self.curve or [(0, {})]
        yield from earlier
        yield step, {**last, **self.scores}


class Send(Protocol):
    """Sends a run to a tracker."""

    def __call__(self, run: TrackedRun, results: Path) -> bool:
        """Send a run, unless the tracker has it; return whether it was sent.

        Args:
            run: the run.
            results: its results folder.
        """


def tracked(
    store: Store, record: Record, rows: Sequence[PlanRow], study: str = ""
) -> TrackedRun | None:
    """Return a stored run in the form that trackers take.

    Args:
        store: the results folder.
        record: record of the run.
        rows: its rows in the plans of suites.
        study: name of the study whose trial it is, "" for no trial.

    Returns:
        None if the run was skipped, or failed and may be tried again.
    """
    if record.status not in _TRACKED:
        return None
    cell, path = record.cell, store.record_path(record.run)
    variant = rows[0].variant if rows else record.cell_hash
    return TrackedRun(
        id=record.run_hash,
        name=f"{cell.task.name} {cell.method} {variant} seed {record.seed} {record.run_hash}",
        group=f"{cell.task.name}/{cell.backbone.name}/{cell.method}/{variant}",
        tags=tuple(sorted({row.suite for row in rows} or {study} - {""})),
        place=path.relative_to(store.root / "runs").with_suffix("").as_posix(),
        ok=record.status == Status.OK,
        started=record.provenance.started_at,
        settings=_settings(record, path) | {"variant": variant, "study": study},
        curve=[(point.step, dict(_curve_values(point))) for point in record.curve],
        scores=dict(_scores(record)),
    )


def _settings(record: Record, path: Path) -> dict[str, Any]:
    cell = record.cell
    return {
        **cell.model_dump(mode="json", exclude={"task"}),
        "task": cell.task.name,
        "task_version": cell.task.version,
        "seed": record.seed,
        "run_hash": record.run_hash,
        "cell_hash": record.cell_hash,
        "status": record.status.value,
        "detail": record.detail,
        "record": path.resolve().as_uri(),
        "provenance": record.provenance.model_dump(mode="json"),
    }


def _curve_values(point: CurvePoint) -> Iterator[tuple[str, float]]:
    return _present("", {f"{s}/{what}": getattr(point, f"{s}_{what}") for s, what in _CURVES})


def _scores(record: Record) -> Iterator[tuple[str, float]]:
    for split, scores in record.splits.items():
        known = {**scores.metrics, "loss": scores.loss, "ece": scores.ece}
        yield from _present(f"final/{split}/", known)
    yield from _present("gap/", {**record.gaps, "loss": record.loss_gap})
    for name in ("calibration", "truth", "cost"):
        part = getattr(record, name)
        known = part.model_dump() if part else {}
        numbers = {key: value for key, value in known.items() if not isinstance(value, dict)}
        yield from _present(f"{name}/", numbers)
    if record.checkpoint:
        yield from _present("checkpoint/", record.checkpoint.model_dump())


def _present(prefix: str, values: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    return ((prefix + name, float(value)) for name, value in values.items() if value is not None)


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)
