"""Files: names as parts of paths, atomic writing, and locks of writers.

A file is written under a temporary name beside its final path, flushed to disk and renamed, so
neither a reader nor a crash ever sees half of one. Anyone who can write to a shared results folder
can plant a link there. A new file replaces such a link instead of following it.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from gapbench.bench.core.errors import StoreError

_LONGEST = 200  # file systems allow 255 bytes, and endings come behind
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows
_PARQUET_END = b"PAR1"
_LEAST_PARQUET = 12  # bytes: the mark at both ends, and the length of the footer


@lru_cache(maxsize=4096)
def path_part(name: str) -> str:
    """Return a name as one path part, safe on every file system; two names may give the same."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:_LONGEST] or "_"
    if safe.endswith("."):  # Windows drops it
        safe += "_"
    return f"_{safe}" if _DEVICE.fullmatch(safe) else safe


def refuse_outside(root: Path, path: Path) -> None:
    """Check that no link below a folder leads a path out of it.

    Raises:
        StoreError: if one does.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise StoreError(f"{path}: a link leads out of the folder; remove it")


def lock(path: Path) -> FileLock:
    """Return a lock held by the kernel; a mere lock file would outlive its process."""
    return FileLock(path, fallback_to_soft=False)


def part(path: Path) -> Path:
    """Return the temporary file beside ``path`` that the holder of its lock writes."""
    return path.with_name(path.name + ".part")


@contextmanager
def replacing(path: Path, *, locked: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to.

    The file then replaces ``path``. After an error it is deleted.

    Args:
        path: the file to replace.
        locked: whether the caller holds a lock on it. The name is then always the same, so a
            killed process leaves at most one file. Otherwise only this process uses the name.
    """
    own = part(path) if locked else path.with_name(f"{path.name}.{os.getpid()}.part")
    own.unlink(missing_ok=True)  # a link at that path is not followed
    try:
        yield own
        with own.open("rb") as file:
            os.fsync(file.fileno())  # else a crash of the machine could leave zeros under the name
        own.replace(path)
    finally:
        own.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing; a file or link at its path is deleted first."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # exclusive: a link made in between is not followed
        yield file


def write_text(path: Path, text: str, *, locked: bool = False) -> None:
    """Replace the content of ``path`` by a text; see `replacing`."""
    with replacing(path, locked=locked) as own, new_file(own) as file:
        file.write(text.encode())


def json_text(content: Any) -> str:
    """Return ``content`` as the text of a JSON file."""
    return json.dumps(content, allow_nan=False, indent=1) + "\n"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of the system while ``path`` is written into a `StoreError`."""
    try:
        yield
    except (StoreError, Timeout):
        raise
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise StoreError(
            f"{path}: cannot be written: {cause}; "
            f"{'make room' if full else 'repair it'} or give another folder with --results DIR; "
            "the same command goes on from here"
        ) from None


def is_whole(parquet: Path) -> bool:
    """Whether a Parquet file has its footer, which is written last; true if there is no file."""
    try:
        with parquet.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_PARQUET_END)))
            return size >= _LEAST_PARQUET and file.read() == _PARQUET_END
    except FileNotFoundError:
        return True
    except OSError:
        return False
