"""Sources of data and backbones, and the fingerprints that make them part of a run's identity.

Three kinds of each: built into the package, a local folder (`--data`, `--backbone`), or a hub
repository at a pinned revision. Adapters that runs start from are local folders. They are
read by `bench.tasks.dataset`, `bench.models.loading` and `bench.models.initial_adapter`.
"""

import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from gapbench.bench.config.run import Fingerprint
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_sources import BuiltinSource, HubSource, OwnSource
from gapbench.bench.core.errors import BackboneError, BenchError, DataError
from gapbench.bench.core.safe_parsing import parse_json
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data import gguf_file
from gapbench.bench.data.digests import (
    adapter_digest,
    backbone_digest,
    joint_digest,
    own_digest,
    spoilt,
)

_TEMPLATE = "chat_template.jinja"  # read for dialogues alone, so that it counts for these alone
_HUB_ID = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@(?P<revision>[0-9a-f]{40})"
)


@dataclass
class Sources:
    """Where this invocation finds data and backbones; runs themselves know only their hashes.

    Attributes:
        data_folder: folder with ``<task>/{train,validation,test}.parquet``, in place of the hub.
        offline: whether sources that only the hub has are refused without trying to connect.
        locations: name or folder of every backbone and adapter fingerprinted so far, by digest.
    """

    data_folder: Path | None = None
    offline: bool = False
    locations: dict[str, str] = field(default_factory=dict)

    def data(self, task: Task) -> Fingerprint:
        """Return the identity of a task's rows: generated, local files or a pinned revision.

        Raises:
            DataError: if local files are missing, or only the hub has the rows and offline is set.
        """
        source = task.source
        if isinstance(source, BuiltinSource):
            return Fingerprint(name="builtin", digest=content_hash(source.model_dump())[:16])
        if isinstance(source, OwnSource):
            return Fingerprint(name="own", digest=own_digest(task.name, source))
        if self.data_folder is not None:
            paths = [self.split_file(task, split) for split in task.files.values()]
            return Fingerprint(name="files", digest=joint_digest(paths))
        if isinstance(source, HubSource):
            self._hub(f"task {task.name!r}: its data", source.hub, "data", DataError)
            return Fingerprint(name=source.hub, digest=source.revision)
        raise only_files(task)

    def split_file(self, task: Task, split: str) -> Path:
        """Return the parquet file of one official split.

        Raises:
            DataError: if it does not exist.
        """
        assert self.data_folder is not None  # noqa: S101 - callers ask only with a data folder
        path = self.data_folder / (task.folder or task.name) / f"{split}.parquet"
        if not path.is_file():
            on_hub = isinstance(task.source, HubSource)
            hub = ", or leave out --data to use the hub" if on_hub else ", or give another --data"
            raise DataError(
                f"task {task.name!r}: {path} does not exist; put the split {split!r} there{hub}"
            )
        if (cause := spoilt(path)) is not None:
            raise DataError(f"task {task.name!r}: {cause}")
        return path

    def backbone(self, name: str, *, templated: bool = False) -> Fingerprint:
        """Return the identity of a backbone: built-in name, files or ``owner/name@revision``.

        Args:
            name: name, folder or GGUF file.
            templated: whether its chat template counts, which some folders have as a file.

        Raises:
            BackboneError: if the folder holds no safe weights, or a hub id has no pinned revision
                or offline is set.
        """
        folder = backbone_folder(name)
        if folder is not None:
            packed = backbone_gguf(name)
            plain, whole = (backbone_digest(folder, packed, *each) for each in ((), (_TEMPLATE,)))
            self.locations |= {plain: name, whole: name}
            digest = whole if templated else plain
            called = folder.resolve().name if packed is None else packed.stem
            fingerprint = Fingerprint(name=called, digest=digest)
        elif found := _HUB_ID.fullmatch(name):
            repository = found["repository"]
            self._hub(f"backbone {name!r}", repository, "backbone", BackboneError)
            fingerprint = Fingerprint(name=repository.split("/")[1], digest=found["revision"])
        else:
            raise BackboneError(
                f"backbone {name!r} is neither built in ({', '.join(builtin_backbones())}), nor an "
                "existing folder or GGUF file, nor a hub id with a pinned revision such as "
                "'owner/name@<commit hash>' (40 digits); give one of these by --backbone"
            )
        self.locations[fingerprint.digest] = name
        return fingerprint

    def locate(self, backbone: Fingerprint) -> str:
        """Return the name or folder under which a fingerprinted backbone can be loaded.

        Raises:
            BackboneError: if it is not built in and was not given to this invocation.
        """
        if backbone.digest not in self.locations:
            for name in builtin_backbones():
                self.backbone(name)
        if backbone.digest not in self.locations:
            raise BackboneError(
                f"backbone {backbone.name!r} with digest {backbone.digest} was not found; pass "
                "the folder it was run with as --backbone DIR"
            )
        return self.locations[backbone.digest]

    def start(self, folder: Path) -> Fingerprint:
        """Return the identity of an adapter folder that runs start from.

        Raises:
            BackboneError: if it is not an adapter folder, or its weights are not safetensors.
        """
        fingerprint = Fingerprint(name=folder.resolve().name, digest=adapter_digest(folder))
        self.locations[fingerprint.digest] = str(folder)
        return fingerprint

    def locate_start(self, start: Fingerprint) -> Path:
        """Return the folder of a fingerprinted adapter.

        Raises:
            BackboneError: if it was not given to this invocation.
        """
        if start.digest not in self.locations:
            raise BackboneError(
                f"adapter {start.name!r} with digest {start.digest}, from which the run starts, "
                "was not found; pass its folder as --start DIR"
            )
        return Path(self.locations[start.digest])

    def _hub(self, what: str, repository: str, flag: str, error: type[BenchError]) -> None:
        """Refuse a repository if offline, or if a local folder has the same name."""
        if self.offline:
            raise error(
                f"{what} would come from the hub ({repository}), which --offline forbids; copy it "
                "with 'gapbench fetch' where there is a network, and give its folder with "
                f"--{flag} DIR"
            )
        if Path(repository).exists():
            raise error(
                f"{what}: the working directory has a folder {repository!r}, which would be taken "
                f"for the hub's repository; give it by --{flag} DIR, or call from elsewhere"
            )

    def weight_bytes(self, backbone: Fingerprint) -> float:
        """Return the size of a backbone's weights, infinite if they are not found.

        Weights in GGUF count as they are in memory, all others as they are on the disk.
        """
        name = self.locate(backbone)
        folder = backbone_folder(name)
        if folder is None:
            return float("inf")
        if (packed := backbone_gguf(name)) is not None:
            return gguf_file.unpacked_bytes(packed)
        return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def only_files(task: Task) -> DataError:
    """Return the error for a task whose rows nothing but a data folder can hold."""
    names = [f"{split}.parquet" for split in dict.fromkeys(task.files.values())]
    return DataError(
        f"task {task.name!r} exists only as files; give --data DIR with "
        f"{', '.join(names)} in DIR/{task.folder or task.name}"
    )


def builtin_backbones() -> list[str]:
    """Return the names of the backbones in the package."""
    folder = files("gapbench.bench.synthetic") / "backbones"
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def backbone_folder(name: str) -> Path | None:
    """Return the folder of a built-in or local backbone, None if ``name`` is a hub id.

    That of a GGUF file is the folder that it is in.
    """
    if name in builtin_backbones():
        return Path(str(files("gapbench.bench.synthetic") / "backbones" / name))
    try:
        path = Path(name).expanduser()
        if gguf_file.is_gguf(path):
            return path.parent
        return path if path.is_dir() else None
    except (OSError, RuntimeError):  # a name that is too long, or of an unknown user
        return None


def backbone_gguf(name: str) -> Path | None:
    """Return the GGUF file of a local backbone, None if it is kept in another format.

    Raises:
        BackboneError: if it is a folder with several.
    """
    folder = backbone_folder(name)
    if folder is None:
        return None
    path = Path(name).expanduser()
    return path if gguf_file.is_gguf(path) else gguf_file.only_file(folder)


def hidden_size(name: str) -> int | None:
    """Return the hidden size of a backbone, None if it is not on this computer.

    Raises:
        BackboneError: if its files have no readable configuration.
    """
    folder = backbone_folder(name)
    if folder is None:
        return None
    if (packed := backbone_gguf(name)) is not None:
        return gguf_file.hidden_size(packed)
    try:
        config = parse_json((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"backbone {folder}: config.json cannot be read: {error}") from None
    known = (config.get(key) for key in ("hidden_size", "d_model", "n_embd", "dim"))
    return next((size for size in known if isinstance(size, int)), None)
