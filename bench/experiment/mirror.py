"""A suite's data and backbones as one folder, for computers without a network.

``gapbench fetch`` fills it at the pinned revisions, in the layout that ``--data`` and
``--backbone`` read, with a manifest of hashes. Existing unchanged files are kept, so an interrupted
fetch continues where it stopped.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub

from gapbench.bench import __version__
from gapbench.bench.config.run import Cell
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import BuiltinSource, HubSource, OwnSource
from gapbench.bench.core.errors import BackboneError, BenchError, ConfigError, DataError, StoreError
from gapbench.bench.core.files import refuse_outside, replacing
from gapbench.bench.data import rows
from gapbench.bench.data.digests import VOCABULARIES, file_digest
from gapbench.bench.data.hub_access import explained, refuse_silence
from gapbench.bench.data.manifest import File, Item, Manifest, Part, load
from gapbench.bench.data.sources import Sources, backbone_folder, backbone_gguf
from gapbench.bench.experiment import suite as suites

# The files of a backbone that the model library needs; no weights in other formats, and no code but
# chat templates, which the library runs in a sandbox.
BACKBONE_PATTERNS = ["*.json", "*.txt", "*.jinja", "*.safetensors", *VOCABULARIES]

Write = Callable[[Path], object]


@dataclass(frozen=True)
class Wanted:
    """An item to be fetched.

    Attributes:
        source: its description in the manifest.
        files: functions that write each file, by name.
        download: function that writes all files into a folder and returns their names, if these
            are not known in advance.
        nothing: reason why there is nothing to fetch, None if there is something.
        origin: folder of rows that its files are copied from, some of them for other suites.
    """

    part: Part
    name: str
    source: Mapping[str, str | None]
    files: Mapping[str, Write]
    download: Callable[[Path], list[str]] | None = None
    nothing: str | None = None
    origin: Path | None = None

    @property
    def folder(self) -> str:
        """Its folder, relative to the folder to fill."""
        return f"{self.part}/{self.name}"


@dataclass(frozen=True)
class Fetched:
    """The result for an item: "fetched", "kept" or why there was nothing to do."""

    part: Part
    name: str
    state: str
    files: int
    megabytes: float


def wanted(
    name: str, sources: Sources, task_names: tuple[str, ...] = (), backbone: str | None = None
) -> list[Wanted]:
    """Return the items that a suite, or the part selected by flags, needs.

    Raises:
        ConfigError: if there is no such suite or task, or two backbones have one name.
        DataError, BackboneError: if a source is neither local nor pinned.
    """
    suite, path = suites.load(name)
    suite = suites.restrict(suite, task_names=task_names, backbone=backbone)
    cells = [planned.run.cell for planned in suites.expand(suite, sources, path)]
    cells_read = [*(cell.testing(test) for cell in cells for test in cell.also_test), *cells]
    # Tasks of one folder have the same rows; together they need all of its files.
    data: dict[str, Wanted] = {}
    for cell in {(c.task.name, c.task.tests_only): c for c in cells_read}.values():
        item = _data(cell, sources)
        known = data.get(item.folder, item)
        data[item.folder] = replace(item, files={**known.files, **item.files})
    items = [*data.values()]
    names = dict.fromkeys(sources.locate(cell.backbone) for cell in cells)
    items += [_backbone(name, sources) for name in names]
    folders = [item.folder for item in items]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ConfigError(
                f"suite {suite.name!r}: two backbones would be put into {folder}; fetch them into "
                "separate folders with --tasks or --backbone"
            )
    return items


def fetch(items: list[Wanted], out: Path) -> Iterator[Fetched]:
    """Fetch items into a folder one by one; yield the result of each.

    Raises:
        BenchError: naming the item that could not be fetched, and those that are complete.
    """
    mirror = load(out) or Manifest(gapbench=__version__)
    for item in items:
        if item.nothing is not None:
            yield Fetched(item.part, item.name, item.nothing, 0, 0.0)
            continue
        try:
            done, state = _Filling(out, mirror, item).fill()
        except (BenchError, OSError) as error:
            kind = type(error) if isinstance(error, BenchError) else StoreError
            there = [known.folder for known in mirror.items.values() if known.complete]
            raise kind(
                f"{item.folder} was not fetched: {error}; complete in {out}: "
                f"{', '.join(there) or 'nothing'}; run the same command again to resume"
            ) from None
        mirror.items[item.folder] = done
        size = sum(file.bytes for file in done.files.values()) / 1e6
        yield Fetched(item.part, item.name, state, len(done.files), round(size, 3))


class _Filling:
    """One item while it is fetched; the manifest of its folder is kept up to date."""

    def __init__(self, out: Path, mirror: Manifest, item: Wanted) -> None:
        self._out, self._mirror, self._item = out, mirror, item
        self._known = mirror.items.get(item.folder)
        self._folder = out / item.folder

    def fill(self) -> tuple[Item, str]:
        """Return the item with its files in place, and whether it was fetched or kept.

        Files that another suite reads of the same data stay; those of another revision go.
        """
        known, item = self._known, self._item
        self._refuse_links()
        if known is None:
            self._refuse_strangers()
        before = {} if known is None else known.files
        files = {path: file for path, file in before.items() if self._is_current(path)}
        needed = {f"{item.folder}/{name}" for name in item.files}
        if known is not None and known.complete and files == before and needed <= files.keys():
            return known, "kept"
        for path in before.keys() - files.keys():
            (self._out / path).unlink(missing_ok=True)
        made = Item(part=item.part, name=item.name, source=dict(item.source), files=files)
        self._save(made)
        self._folder.mkdir(parents=True, exist_ok=True)
        if item.download is not None:
            for name in item.download(self._folder):
                made.files[f"{item.folder}/{name}"] = _measured(self._folder / name)
        for name, write in item.files.items():
            self._put(made, name, write)
        done = made.model_copy(update={"complete": True})
        self._save(done)
        return done, "fetched"

    def _put(self, item: Item, name: str, write: Write) -> None:
        """Write one file unless it exists; its hash is stored before the file is renamed."""
        key = f"{self._item.folder}/{name}"
        if key in item.files and self._unchanged(key):
            return
        with replacing(self._folder / name, locked=True) as own:
            write(own)
            item.files[key] = _measured(own)
            self._save(item)

    def _save(self, item: Item) -> None:
        self._mirror.items[item.folder] = item
        self._mirror.save(self._out)

    def _is_current(self, path: str) -> bool:
        """Whether a file is as it was fetched, and would be fetched so now."""
        known, origin = self._known, self._item.origin
        assert known is not None  # noqa: S101 - one of its files is asked about
        if not self._unchanged(path):
            return False
        if origin is None or "files" not in known.source:
            return known.source == dict(self._item.source)
        source = origin / Path(path).name
        return source.is_file() and file_digest(source) == known.files[path].sha256

    def _unchanged(self, path: str) -> bool:
        known = self._mirror.items[self._item.folder].files[path]
        there = self._out / path
        return there.is_file() and file_digest(there) == known.sha256

    def _refuse_links(self) -> None:
        """Refuse links at folders; links at files are replaced."""
        refuse_outside(self._out, self._folder)
        for place in self._folder.rglob("*"):
            if place.is_dir():
                refuse_outside(self._out, place)

    def _refuse_strangers(self) -> None:
        if self._folder.is_dir() and any(self._folder.iterdir()):
            raise StoreError(
                f"{self._folder} holds files that no fetch wrote; move them away, or give another "
                "folder with --out"
            )


def _data(cell: Cell, sources: Sources) -> Wanted:
    task, source = cell.task, cell.task.source
    if isinstance(source, BuiltinSource):
        return Wanted("data", task.name, {}, {}, nothing="built in")
    if isinstance(source, OwnSource):
        return Wanted("data", task.name, {}, {}, nothing="own files: copy them yourself")
    if sources.data_folder is None and isinstance(source, HubSource):
        said: dict[str, str | None] = source.model_dump()
        write = partial(_from_hub, task, source)
    else:
        said, write = {"files": cell.data.digest}, partial(_from_folder, task, sources)
    splits = dict.fromkeys(task.files.values())
    files = {f"{split}.parquet": partial(write, split) for split in splits}
    origin = sources.split_file(task, next(iter(splits))).parent if "files" in said else None
    return Wanted("data", task.folder or task.name, said, files, origin=origin)


def _from_hub(task: Task, source: HubSource, split: str, path: Path) -> None:
    try:
        refuse_silence(source.hub, source.revision, "dataset")
    except OSError as error:
        raise DataError(
            f"task {task.name!r}: the hub's {source.hub} ({split}) cannot be fetched: {error}; "
            "without a network, fetch from a folder with --data DIR"
        ) from None
    rows.hub_split(task, source, split).to_parquet(path)


def _from_folder(task: Task, sources: Sources, split: str, path: Path) -> None:
    shutil.copyfile(sources.split_file(task, split), path)


def _backbone(name: str, sources: Sources) -> Wanted:
    known = sources.backbone(name, templated=True)
    folder = backbone_folder(name)
    if folder is not None:
        packed = backbone_gguf(name)
        kept = [path for each in BACKBONE_PATTERNS for path in folder.glob(each)]
        paths = sorted(kept) if packed is None else [packed]
        copies = {path.name: partial(shutil.copyfile, path) for path in paths if path.is_file()}
        return Wanted("backbones", known.name, {"files": known.digest}, copies)
    repository = name.partition("@")[0]
    said = {"hub": repository, "revision": known.digest}
    load_all = partial(_snapshot, repository, known.digest)
    return Wanted("backbones", known.name, said, {}, download=load_all)


def _snapshot(repository: str, revision: str, folder: Path) -> list[str]:
    """Download a backbone and return its files; the hub's client resumes partial downloads.

    Raises:
        BackboneError: if it cannot be reached, or has no safe weights.
    """
    ask: Callable[..., Any] = partial(
        huggingface_hub.snapshot_download,
        repository,
        revision=revision,
        local_dir=folder,
        allow_patterns=BACKBONE_PATTERNS,
        ignore_patterns=["*/*"],  # copies in other formats
    )
    try:
        refuse_silence(repository, revision, "model")
        # Without the hub, the client assumes that the files in the folder are complete, because it
        # cannot list them.
        sizes = {file.filename: file.file_size for file in ask(dry_run=True)}
        safe = any(name.endswith(".safetensors") for name in sizes)
        if safe:
            ask()
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"the hub's {repository}@{revision} cannot be fetched: "
            + explained(error, "; without a network, fetch from a folder with --backbone DIR")
        ) from None
    if not safe:
        raise BackboneError(
            f"the hub's {repository}@{revision} has no safetensors weights, the only kind that is "
            "safe to load; pin a revision that has them, or convert with save_pretrained"
        )
    for name, size in sizes.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            raise BackboneError(f"{folder / name} is truncated; it should have {size} bytes")
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes on downloads
    return sorted(sizes)


def _measured(path: Path) -> File:
    return File(sha256=file_digest(path), bytes=path.stat().st_size)
