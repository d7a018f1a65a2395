"""Write a stored run as an adapter folder that PEFT loads.

Records keep no weights. Where the suite kept the state that the run ended in, that is exported;
otherwise the training is repeated, as `bench.execution.reproduce` does. Either way the adapter is
scored, and the export reports how far its scores are from the recorded ones.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from gapbench.bench import __version__
from gapbench.bench.config.run import Fingerprint, NestedFolds
from gapbench.bench.core.errors import BackboneError, RecordError, StoreError
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources, backbone_folder
from gapbench.bench.execution import adapter_readme
from gapbench.bench.execution.model_card import SeedMeans
from gapbench.bench.execution.reproduce import Reproduction, compare, stored
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.models.merge import Adapter
from gapbench.bench.profiling.self_check import checked_backbone
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.record_io import TEST
from gapbench.bench.store.store import Store

_OF_CELL = {"backbone", "start", "head", "method", "config", "precision", "quantization"}


@dataclass(frozen=True, repr=False)
class Exported:
    """Result of an export.

    Attributes:
        folder: has ``adapter_config.json``, ``adapter_model.safetensors``, ``gapbench.json``, the
            tokenizer with its padding token, and a README with the code that loads it.
        metric: the task's main metric.
        score_before, score_now: its value on the test split, in the record and for this adapter.
        outcome: all differences between what is exported and the record.
        kept: whether it is the state that the run ended in, and was not trained again.
        url: where it was pushed to, None if it was not.
    """

    folder: Path
    metric: str
    score_before: float | None
    score_now: float | None
    outcome: Reproduction
    kept: bool = False
    url: str | None = None

    @property
    def report(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self) | {"folder": str(self.folder)}

    def __repr__(self) -> str:
        scores = f"{self.score_before} in the record, {self.score_now} now"
        source = "the kept checkpoint" if self.kept else "trained again"
        first = f"{self.folder}: {source}; test {self.metric} {scores}"
        pushed = [f"pushed: {self.url}"] if self.url else []
        return "\n".join([first, *self.outcome.drift_lines, *pushed])


def export(
    store: Store,
    name: str,
    sources: Sources,
    device: str,
    out: Path,
    means_of: Callable[[Record], SeedMeans | None] = lambda _: None,
    *,
    for_hub: bool = False,
) -> Exported:
    """Write the adapter of the record called ``name`` (file or run hash) to ``out``.

    It is trained again unless the state that it ended in was kept.

    Args:
        store: results folder.
        name: record file, or the start of a run hash.
        sources: where data and backbones are.
        device: device to compute on.
        out: folder to write.
        means_of: returns what all seeds of a record's cell say, for the model card.
        for_hub: whether others must be able to load it.

    Raises:
        StoreError: if ``out`` is not empty.
        BackboneError: if others cannot load its backbone.
        RecordError: if there is no such record, or it is not ok, then or now.
        MergeError: if PEFT has no adapter for what the method trains.
    """
    _refuse_full(out)
    record = stored(store, name, sources)
    if record.status != Status.OK:
        raise RecordError(f"{record.run} is {record.status}; only a run that is ok has an adapter")
    if isinstance(record.cell.resample, NestedFolds):
        raise RecordError(
            f"{record.run} is scored on a fold of its rows; export a run that was scored on test"
        )
    if TEST not in record.splits:
        raise RecordError(
            f"{record.run} served a choice of settings, and test stayed sealed; export a run that "
            "was scored on test"
        )
    location = _base_model(record.cell.backbone, sources)
    if for_hub and location["revision"] is None:
        raise BackboneError(
            f"{record.run} adapts a backbone that is no repository of the hub "
            f"({record.cell.backbone.name}), so nobody else could load it; run the suite on "
            "owner/name@revision, or leave out --push"
        )
    backbone = checked_backbone(record.cell, sources, choose_device(device))
    if isinstance(backbone, str):
        raise BackboneError(f"{record.run} cannot be trained again here: {backbone}")
    executor = Executor(store, sources, choose_device(device))
    attempt = executor.prepare([record.run], backbone, lambda _: None)
    # A refusal must come before time is spent.
    attempt.trainer.method.export(attempt.trainer.state, 0)
    saved = executor.kept(record.run)
    if saved is not None and not (attempt.resumed(saved) and attempt.trainer.ended):
        saved, attempt = None, executor.prepare([record.run], backbone, lambda _: None)
    attempt.train()
    ((again, _),) = attempt.records()
    if again.status != Status.OK:
        raise RecordError(f"{record.run} was ok, now it is {again.status}: {again.detail}")
    adapter = attempt.trainer.method.export(attempt.trainer.state, 0)
    adapter = Adapter(dict(adapter.config) | location, adapter.tensors)
    origin = _origin(record, again) | {"padding_token": backbone.tokenizer.pad_token}
    readme = adapter_readme.page(record, backbone, location, means_of(record))
    write(out, adapter, origin, backbone.tokenizer, readme)
    metric = record.cell.task.metrics[0]
    scores = (record.score("test"), again.score("test"))
    return Exported(out, metric, *scores, compare(record, again), kept=saved is not None)


def write(
    out: Path, adapter: Adapter, origin: Mapping[str, Any], tokenizer: Any = None, readme: str = ""
) -> None:
    """Write an adapter folder, with the tokenizer if there is one; it appears whole or not at all.

    Raises:
        StoreError: if it cannot be written, or is not empty.
    """
    _refuse_full(out)
    out = out.resolve()
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    tensors: dict[str, Tensor] = {k: v.cpu().contiguous() for k, v in adapter.tensors.items()}
    try:
        part.mkdir(parents=True)
        save_file(tensors, part / "adapter_model.safetensors", metadata={"format": "pt"})
        for file, content in (("adapter_config", adapter.config), ("gapbench", origin)):
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            (part / f"{file}.json").write_text(text, encoding="utf-8")
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        if readme:
            (part / "README.md").write_text(readme, encoding="utf-8")
        if out.exists():
            out.rmdir()  # it is empty
        part.replace(out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_full(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise StoreError(f"{out} is not empty; give a new or empty folder with --out")


def _base_model(backbone: Fingerprint, sources: Sources) -> dict[str, Any]:
    """Return the backbone for PEFT's configuration: a folder, or a pinned hub id."""
    location = sources.locate(backbone)
    folder = backbone_folder(location)
    name, _, revision = (str(folder), "", None) if folder else location.partition("@")
    return {"base_model_name_or_path": name, "revision": revision}


def _origin(record: Record, again: Record) -> dict[str, Any]:
    """Return the adapter's origin and other information that its users need."""
    cell, task = record.cell, record.cell.task
    return {
        "gapbench": __version__,
        "run_hash": record.run_hash,
        "seed": record.seed,
        "task": task.name,
        "text": list(task.text),
        "prompt": getattr(task, "prompt", None),
        "labels": list(task.labels),
        "max_length": task.max_length,
        **cell.model_dump(mode="json", include=_OF_CELL),
        "checkpoint_step": again.checkpoint.step if again.checkpoint else None,
        "test_recorded": record.splits["test"].metrics,
        "test_now": again.splits["test"].metrics,
    }
