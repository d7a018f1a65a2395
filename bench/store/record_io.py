"""Reading the files of a stored run: its record and its predictions.

`bench.store.store` decides where they are and who may write them.
"""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gapbench.bench.core.errors import RecordError
from gapbench.bench.core.files import is_whole
from gapbench.bench.core.safe_parsing import parse_json
from gapbench.bench.core.schema import other_version, read_versioned
from gapbench.bench.store.record import SCHEMA_VERSION, Record, Status

TEST = "test"
"""The split whose predictions every run that was scored has."""

ITEM = "item_"
"""Begins the columns of what each example adds to a score; the metric's name follows."""

BARE = "bare_"
"""Begins the columns of what each example of a second test adds to the bare backbone's score."""

_USUAL = (TEST, "train", "validation")
_REDO = "delete it and run the suite again"
_FOREIGN = "use the gapbench that wrote it, or another folder with --results DIR"

# A whole record as the store writes it. Line breaks inside strings are escaped, so one space after
# a break always starts a field of the record itself.
_WRITTEN = re.compile(
    rb'\{\n "schema_version": (\d+),\n.*?\n "status": "(\w+)",?\n.*\n\}\n\Z', re.DOTALL
)


def predictions_path(record: Path, split: str = TEST) -> Path:
    """Return the path of a run's predictions of a split, beside its record."""
    return record.with_suffix(".parquet" if split == TEST else f".{split}.parquet")


def checkpoint_path(record: Path) -> Path:
    """Return the path of the state that a run ended in, beside its record."""
    return record.with_suffix(".safetensors")


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: if the file is truncated, not a record, or of another schema version.
    """
    record = read_versioned(path, Record, SCHEMA_VERSION, damaged=_REDO, foreign=_FOREIGN)
    if truncated := _truncated(path):
        raise RecordError(f"{truncated}: truncated predictions; run the suite again")
    return record


def _truncated(record: Path) -> Path | None:
    """Return the first file of predictions that is not complete, None if all are.

    Those of further test splits are not looked at, since nobody knows their names at this point.
    """
    paths = (predictions_path(record, split) for split in _USUAL)
    return next((path for path in paths if not is_whole(path)), None)


def read_status(path: Path) -> Status | None:
    """Return the status in a record, None if there is no complete record of this version.

    A record with truncated predictions is incomplete. The file is parsed only if it does not match
    the form that the store writes, since planning asks for every run.

    Raises:
        RecordError: if a newer version wrote it, which must not be replaced.
    """
    try:
        content = path.read_bytes()
        found = _WRITTEN.match(content)
        if found is None:
            fields = parse_json(content.decode())
            version, status = fields["schema_version"], fields["status"]
        else:
            version, status = int(found[1]), found[2].decode()
        newer = version > SCHEMA_VERSION
        whole = version == SCHEMA_VERSION and _truncated(path) is None
        known = Status(status) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing, or truncated by a crash of the machine: the run will be redone
    if newer:
        raise other_version(path, version, SCHEMA_VERSION, _FOREIGN)
    return known


def read_predictions(path: Path) -> pa.Table | None:
    """Read the predictions at ``path``, None if there are none.

    Raises:
        RecordError: if the file is damaged.
    """
    try:
        # Small files are read at once and by one thread: reading pieces, with threads or ahead,
        # takes longer than the rest.
        with pq.ParquetFile(pa.BufferReader(path.read_bytes()), pre_buffer=False) as file:
            return file.read(use_threads=False)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException):
        raise RecordError(
            f"{path}: damaged predictions; delete it and its record, and run the suite again"
        ) from None
