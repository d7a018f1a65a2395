"""The functions of the Python API on stored data: single runs, a folder, a file of outputs.

As in `bench.api.calls`, the training libraries are loaded when a function is called.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.bench.api.choices import DEVICES, check_above_zero, names, one_of, run_name
from gapbench.bench.core.errors import ConfigError

if TYPE_CHECKING:
    from gapbench.bench.api.calls import Names, Place
    from gapbench.bench.api.tracking import Tracked
    from gapbench.bench.api.views import Gate
    from gapbench.bench.data.sources import Sources
    from gapbench.bench.execution.export import Exported
    from gapbench.bench.execution.reproduce import Reproduction
    from gapbench.bench.execution.verify import Verification
    from gapbench.bench.monitor.status import FolderStatus
    from gapbench.bench.store.submission import Packed
    from gapbench.bench.tasks.score import FileScores


def reproduce(
    run: Any,
    *,
    results: str | PathLike[str] = "results",
    data: Place = None,
    backbone: Place = None,
    start: Place = None,
    offline: bool = False,
    device: str = "auto",
) -> Reproduction:
    """Run a stored run again, alone, and compare; the results folder stays as it is.

    Args:
        run: run hash, the start of one, a record file, or a row of `Results.runs`.
        results: results folder.
        data: folder of local data, as given to `run`.
        backbone: backbone, if it is not built in or on the hub.
        start: folder of the run's initial adapter, if it has one.
        offline: refuse what only the hub has, before any connection is tried.
        device: device to compute on: "auto", "cpu" or "cuda".

    Returns:
        The differences; `same` is true if status and all numbers agree.

    Raises:
        RecordError: if there is no such run, or its data are missing.
        BackboneError: if its backbone, or the adapter it starts from, is missing.
    """
    from gapbench.bench.execution.reproduce import reproduce as repeat
    from gapbench.bench.store.store import Store

    one_of("device", device, DEVICES)
    sources = _sources(data, backbone, start, offline=offline)
    return repeat(Store(Path(results)), run_name(run), sources, device)


def verify(
    folder: str | PathLike[str],
    *,
    rows: int = 5,
    seed: int = 0,
    data: Place = None,
    backbone: Place = None,
    start: Place = None,
    offline: bool = False,
    device: str = "auto",
) -> Verification:
    """Run a random sample of a folder's runs again and compare; the folder stays as it is.

    Args:
        folder: results folder, or what `submit` made of one, whose manifest is checked first.
        rows: runs to draw, at most; runs that failed or were skipped are not drawn.
        seed: of the draw.
        data: see `reproduce`.
        backbone: see `reproduce`.
        start: see `reproduce`.
        offline: see `reproduce`.
        device: see `reproduce`.

    Returns:
        The differences of each run; `same` is true if there are none.

    Raises:
        StoreError: if a packed folder does not agree with its manifest.
        RecordError: if there is no run to draw, or the data of one are missing.
        BackboneError: if the backbone of one is missing.
    """
    from gapbench.bench.execution.verify import verify as checked

    one_of("device", device, DEVICES)
    check_above_zero({"rows": rows}, "rows")
    sources = _sources(data, backbone, start, offline=offline)
    return checked(Path(folder), rows, seed, sources, device)


def submit(
    results: str | PathLike[str], out: str | PathLike[str], *, allow_missing: bool = False
) -> Packed:
    """Pack a results folder for others: records, plans, studies and predictions, with a manifest.

    Args:
        results: results folder.
        out: new folder, or an archive whose name ends in .zip.
        allow_missing: whether planned runs may be missing.

    Returns:
        The folder or archive, its size, and its manifest.

    Raises:
        StoreError: if planned runs are missing, a record cannot be read, or ``out`` exists.
    """
    from gapbench.bench.store.store import Store
    from gapbench.bench.store.submission import pack

    return pack(Store(Path(results)), Path(out), allow_missing=allow_missing)


def export(
    run: Any,
    out: str | PathLike[str],
    *,
    results: str | PathLike[str] = "results",
    data: Place = None,
    backbone: Place = None,
    start: Place = None,
    offline: bool = False,
    device: str = "auto",
    push: str | None = None,
    public: bool = False,
) -> Exported:
    """Train a stored run again and write it as an adapter folder for PEFT.

    Args:
        run: run hash, the start of one, a record file, or a row of `Results.runs`.
        out: folder to write, new or empty.
        results: results folder; see `reproduce`.
        data: see `reproduce`.
        backbone: see `reproduce`.
        start: see `reproduce`.
        offline: see `reproduce`.
        device: see `reproduce`.
        push: repository of the hub to upload the folder to, ``owner/name``; None uploads nothing.
            The token is the one of `hf auth login` or HF_TOKEN.
        public: whether everybody may read the repository, if it is new.

    Returns:
        The folder, and the test scores as recorded and now.

    Raises:
        ConfigError: if `push` is no repository, or the hub does not know you.
        BackboneError: if it is to be pushed and its backbone is not on the hub.
        StoreError: if `out` is not empty or cannot be written, or the hub refuses it.
        RecordError: if there is no such run, or it did not end ok, then or now.
        MergeError: if PEFT has no adapter for what the method trains.
    """
    from gapbench.bench.api.seed_means import seed_means
    from gapbench.bench.execution import hub
    from gapbench.bench.execution.export import export as write
    from gapbench.bench.store.store import Store

    one_of("device", device, DEVICES)
    if push is not None:
        if offline:
            raise ConfigError("push: the hub cannot be reached offline; leave out one of the two")
        hub.check(push)
    sources, store = _sources(data, backbone, start, offline=offline), Store(Path(results))
    found = partial(seed_means, store.root)
    exported = write(
        store, run_name(run), sources, device, Path(out), found, for_hub=push is not None
    )
    if push is None:
        return exported
    return replace(exported, url=hub.push(exported.folder, push, public=public))


def gate(results: str | PathLike[str], against: str | PathLike[str]) -> Gate:
    """Compare runs after a change of code or libraries with the same runs before it.

    Args:
        results: results folder of the runs after the change.
        against: that of the runs before it.

    Returns:
        What differs; `passed` is true if no method moved beyond chance and no run was lost.

    Raises:
        StoreError: if a folder is empty, or they have no run in common.
        RecordError: if a plan in them cannot be read.
    """
    from gapbench.bench.api.views import Gate
    from gapbench.bench.store.store import Store
    from gapbench.reports.results.load import load
    from gapbench.reports.verdict.gate import gate as compared

    before, after = (load(Store(Path(folder))) for folder in (against, results))
    return Gate(compared(before, after))


def status(results: str | PathLike[str] = "results") -> FolderStatus:
    """Return the progress of a results folder's suites, its workers and its failures.

    Returns:
        The runs of each suite by status, studies, workers and failures; `done` is true if no work
        is left.

    Raises:
        StoreError: if the folder holds neither a plan nor a record.
        RecordError: if a plan or a study in it cannot be read.
    """
    from gapbench.bench.monitor.status import ResultsFolder

    return ResultsFolder(Path(results)).look()


def track(results: str | PathLike[str] = "results", *, to: str, progress: bool = True) -> Tracked:
    """Send the finished runs of a results folder to a tracker, trials of studies included.

    Calling it again sends only what the tracker lacks. `docs/tracking.md` says what it gets, and
    where each tracker keeps it.

    Args:
        results: results folder.
        to: "trackio", "wandb", "mlflow" or "tensorboard".
        progress: whether to show progress on stderr.

    Returns:
        How many runs were sent, and how many the tracker had.

    Raises:
        ConfigError: if there is no such tracker, or its package is not installed.
        StoreError: if the folder holds no record.
        TrackerError: if the tracker fails.
    """
    from gapbench.bench.api.tracking import track as send

    return send(Path(results), to, progress=progress)


def score(
    task: str,
    predictions: str | PathLike[str],
    references: str | PathLike[str],
    *,
    metrics: Names = None,
    progress: bool = True,
) -> FileScores:
    """Score the outputs of any system with a task's metrics.

    Args:
        task: name of a built-in task, or its YAML file.
        predictions: texts, one per line in .txt or a list in .json; or any predictions in .csv,
            .tsv, .jsonl or .parquet with a column ``prediction``, or ``logit_0, logit_1, ...``, or
            ``prob_0, prob_1, ...``.
        references: rows with the task's columns: .csv, .tsv, .jsonl or .parquet.
        metrics: metrics instead of the task's own.
        progress: whether to show the progress of slow metrics on stderr.

    Returns:
        The scores by metric, with the reason for each missing one.

    Raises:
        ConfigError: if there is no such task or metric.
        DataError: if a file cannot be read, or the two files do not match.
    """
    from gapbench.bench.api.progress import tracked
    from gapbench.bench.tasks.score import score as scored

    track = tracked if progress else iter
    return scored(str(task), Path(predictions), Path(references), names("metrics", metrics), track)


def _sources(data: Place, backbone: Place, start: Place, *, offline: bool) -> Sources:
    from gapbench.bench.data.sources import Sources

    sources = Sources(None if data is None else Path(data), offline=offline)
    if backbone is not None:
        sources.backbone(str(backbone))
    if start is not None:
        sources.start(Path(start))
    return sources
