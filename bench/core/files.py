"""Files: names as parts of paths, writing that is whole or nothing, and the locks of writers.

A file is written under a temporary name beside its place, flushed to disk and renamed, so that a
reader or a crash never sees half of one. A results folder may be shared, and whoever can write to
it can plant a link there. A new file replaces such a link instead of following it.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from gapbench.bench.core.errors import StoreError

_LONGEST = 200  # file systems allow 255 bytes, and endings come behind
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows
_PARQUET_END = b"PAR1"
_LEAST_PARQUET = 12  # bytes: the mark at both ends, and the length of the footer


def path_part(name: str) -> str:
    """Return a name that is one safe path part on every file system; two names may share it."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:_LONGEST] or "_"
    if safe.endswith("."):  # Windows drops it
        safe += "_"
    return f"_{safe}" if _DEVICE.fullmatch(safe) else safe


def refuse_outside(root: Path, path: Path) -> None:
    """Make sure that no link below a folder leads a path out of it.

    Raises:
        StoreError: if one does.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise StoreError(f"{path}: a link leads out of the folder; take it away")


def lock(path: Path) -> FileLock:
    """Return a lock that the kernel holds; a file that merely exists would outlive its process."""
    return FileLock(path, fallback_to_soft=False)


def part(path: Path) -> Path:
    """Return the temporary file beside ``path`` of whoever holds a lock on it."""
    return path.with_name(path.name + ".part")


@contextmanager
def replacing(path: Path, *, locked: bool = False) -> Iterator[Path]:
    """Give a temporary name to write under.

    What is written there takes the place of ``path`` at the end, and goes after an error.

    Args:
        path: what is replaced.
        locked: whether the caller holds a lock on it. The name is then always the same, so that
            a process that is killed leaves no more than one file; else only this process has it.
    """
    own = part(path) if locked else path.with_name(f"{path.name}.{os.getpid()}.part")
    own.unlink(missing_ok=True)  # no link that stands there is followed
    try:
        yield own
        with own.open("rb") as file:
            os.fsync(file.fileno())  # or a crash of the machine could leave zeros under the name
        own.replace(path)
    finally:
        own.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is new: a file or link that stands in its place goes first."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # exclusive: no link is followed that comes in between
        yield file


def write_text(path: Path, text: str, *, locked: bool = False) -> None:
    """Write a text in the place of ``path``; see `replacing`."""
    with replacing(path, locked=locked) as own, new_file(own) as file:
        file.write(text.encode())


def json_text(content: Any) -> str:
    """Return ``content`` as it stands in a file."""
    return json.dumps(content, allow_nan=False, indent=1) + "\n"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system refuses while ``path`` is written into a `StoreError`."""
    try:
        yield
    except (StoreError, Timeout):
        raise
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno else str(error)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise StoreError(
            f"{path}: cannot be written: {cause}; "
            f"{'make room' if full else 'mend it'} or give another folder with --results DIR; "
            "the same command goes on from here"
        ) from None


def is_whole(parquet: Path) -> bool:
    """Whether a parquet file has its end, which is written last; true where there is no file."""
    try:
        with parquet.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_PARQUET_END)))
            return size >= _LEAST_PARQUET and file.read() == _PARQUET_END
    except FileNotFoundError:
        return True
    except OSError:
        return False
