"""A results folder packed for others: records, predictions, plans, studies, with a manifest.

What is packed is a results folder again, which every command reads. Predictions are stored tighter
and without loss. Locks, checkpoints, logs and the trials of searches stay behind.
"""

import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from gapbench.bench import __version__
from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.core.files import explained, json_text, new_file, replacing, write_text
from gapbench.bench.core.schema import FrozenModel, read_versioned
from gapbench.bench.store.record import Record
from gapbench.bench.store.record_io import read_predictions
from gapbench.bench.store.store import JUDGEMENTS, STUDIES, Store

NAME = "submission.json"
VERSION = 1
MOST_BYTES = 2**31
"""Size of all files of an archive, unpacked."""

_ZIP = ".zip"
_BESIDE = (
    *("plans/*.json", f"{JUDGEMENTS}/*.jsonl"),
    *(f"{STUDIES}/*/summary.json", f"{STUDIES}/*/trials.csv"),
)
_LEVEL = 19
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same archive
_AGAIN = "pack the folder again with 'gapbench submit'"

Inside = Annotated[str, Field(pattern=rf"^(runs|plans|{JUDGEMENTS}|{STUDIES})(/[^/\\\x00]+)+$")]


class PackedFile(FrozenModel):
    """One file as packed."""

    sha256: str
    bytes: int


class Submission(FrozenModel):
    """The manifest of a packed folder."""

    schema_version: int = VERSION
    gapbench: str
    suites: tuple[str, ...]
    runs: dict[str, int] = Field(description="number of records by status")
    missing: int = Field(description="planned runs without a record")
    files: dict[Inside, PackedFile]


@dataclass(frozen=True, repr=False)
class Packed:
    """What was packed.

    Attributes:
        path: folder or archive.
        manifest: what it holds.
        bytes: size of all files, or of the archive.
    """

    path: Path
    manifest: Submission
    bytes: int

    def __repr__(self) -> str:
        runs = ", ".join(f"{count} {status}" for status, count in self.manifest.runs.items())
        left = f", {self.manifest.missing} missing" if self.manifest.missing else ""
        return f"{self.path}: {runs}{left}; {self.bytes:,} bytes"


def pack(store: Store, out: Path, *, allow_missing: bool = False) -> Packed:
    """Pack a results folder into a new folder or, if ``out`` ends in .zip, an archive.

    Raises:
        StoreError: if planned runs are missing and that is not allowed, a record cannot be read,
            the folder is empty, or ``out`` exists already or cannot be written.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise StoreError(f"{out} exists already; give a new folder or archive")
    records = [_readable(record) for record in store.records()]
    if not records:
        raise StoreError(f"results folder {store.root} holds no record; run a suite first")
    plans = store.plans()
    missing = len({plan.run_hash for plan in plans} - {each.run_hash for each in records})
    if missing and not allow_missing:
        raise StoreError(
            f"results folder {store.root}: {missing} planned runs have no record; run the suite to "
            "its end, or give --allow-missing to pack what there is"
        )
    with explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix != _ZIP:
            return _pack(store, records, out, missing, out)
        with tempfile.TemporaryDirectory() as folder:
            packed = _pack(store, records, Path(folder), missing, out)
            _archive(Path(folder), out)
        return Packed(out, packed.manifest, out.stat().st_size)


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield a results folder as it is, or the content of an archive in a temporary folder.

    Raises:
        StoreError: if it is neither, a file would leave the folder, or there is too much in it.
    """
    if path.is_dir():
        yield path
        return
    if not zipfile.is_zipfile(path):
        raise StoreError(f"{path} is neither a folder nor an archive of 'gapbench submit'")
    with tempfile.TemporaryDirectory() as folder:
        try:
            _unpack(path, Path(folder))
        # Damaged, cut, encrypted, or compressed in a way that is not known here.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise StoreError(f"{path} cannot be unpacked: {error}; {_AGAIN}") from None
        yield Path(folder)


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of an archive below a folder, and nowhere else."""
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise StoreError(f"{path} holds more than {MOST_BYTES:,} bytes, the most that is read")
        for member in archive.infolist():
            parts = PurePosixPath(member.filename).parts
            if member.is_dir():
                continue
            if ".." in parts or PurePosixPath(member.filename).is_absolute() or not parts:
                raise StoreError(f"{path}: {member.filename!r} leads out of the folder; {_AGAIN}")
            place = folder.joinpath(*parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, new_file(place) as file:
                shutil.copyfileobj(source, file)


def check(folder: Path) -> Submission | None:
    """Compare the files of a folder with its manifest; return None if it has none.

    Raises:
        RecordError: if the manifest cannot be read.
        StoreError: if a file is missing or has changed, or a file of a run is not in the manifest.
    """
    path = folder / NAME
    if not path.exists():
        return None
    foreign = "use the gapbench that wrote it"
    manifest = read_versioned(path, Submission, VERSION, damaged=_AGAIN, foreign=foreign)
    found = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}
    found -= {NAME}
    for name, known in manifest.files.items():
        if name not in found:
            raise StoreError(f"{folder / name} is in the manifest and not in the folder; {_AGAIN}")
        if _digest(folder / name) != known:
            raise StoreError(f"{folder / name} has changed since it was packed; {_AGAIN}")
    if strays := sorted(name for name in found - manifest.files.keys() if name.startswith("runs/")):
        raise StoreError(f"{folder / strays[0]} is not in the manifest; {_AGAIN}")
    return manifest


def _readable(record: Record | RecordError) -> Record:
    if isinstance(record, Record):
        return record
    raise StoreError(f"{record}; nothing was packed")


def _pack(store: Store, records: list[Record], folder: Path, missing: int, out: Path) -> Packed:
    for record in records:
        path = store.record_path(record.run)
        place = folder / store.place(record.run)
        place.parent.mkdir(parents=True, exist_ok=True)
        for table in sorted(path.parent.glob(f"{path.stem}.*parquet")):
            _tighten(table, place.with_name(table.name))
        shutil.copyfile(path, place)
    for pattern in _BESIDE:
        for path in sorted(store.root.glob(pattern)):
            place = folder / path.relative_to(store.root)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    files = {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = Submission(
        gapbench=__version__,
        suites=tuple(sorted({plan.suite for plan in store.plans()})),
        runs=dict(Counter(record.status.value for record in records)),
        missing=missing,
        files=files,
    )
    write_text(folder / NAME, json_text(manifest.model_dump(mode="json")))
    return Packed(out, manifest, sum(file.bytes for file in files.values()))


def _tighten(source: Path, target: Path) -> None:
    """Write predictions again, without loss, in less space."""
    table = read_predictions(source)
    assert table is not None  # noqa: S101 - it was listed
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in floats]
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=others,
        use_byte_stream_split=floats,
    )
    if target.stat().st_size >= source.stat().st_size:
        shutil.copyfile(source, target)


def _archive(folder: Path, out: Path) -> None:
    with replacing(out) as own, zipfile.ZipFile(own, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
                archive.writestr(name, path.read_bytes(), zipfile.ZIP_DEFLATED)


def _digest(path: Path) -> PackedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return PackedFile(sha256=digest, bytes=path.stat().st_size)
