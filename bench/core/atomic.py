"""Files that appear whole or not at all, and the locks of those who write them.

A file is written under a temporary name beside its place, flushed to disk and renamed, so that a
reader or a crash never sees half of one.
"""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gapbench.bench.core.errors import StoreError
from gapbench.bench.core.files import new_file

_PARQUET_END = b"PAR1"
_LEAST_PARQUET = 12  # bytes: the mark at both ends, and the length of the footer


def lock(path: Path) -> FileLock:
    """Return a lock that the kernel holds; a file that merely exists would outlive its process."""
    return FileLock(path, fallback_to_soft=False)


@contextmanager
def writing(*paths: Path) -> Iterator[None]:
    """Explain what the system refuses, and leave no temporary file of ``paths`` behind."""
    try:
        yield
    except StoreError:
        _remove_parts(paths)
        raise
    except Timeout:
        raise
    except OSError as error:
        _remove_parts(paths)
        cause = os.strerror(error.errno) if error.errno else str(error)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise StoreError(
            f"{paths[0]}: cannot be written: {cause}; "
            f"{'make room' if full else 'mend it'} or give another folder with --results DIR; "
            "the same command goes on from here"
        ) from None


def _remove_parts(paths: Sequence[Path]) -> None:
    for path in paths:
        part(path).unlink(missing_ok=True)


def part(path: Path) -> Path:
    """Return the temporary file beside ``path``, which only the holder of its lock writes."""
    return path.with_name(path.name + ".part")


def json_text(content: Any) -> str:
    """Return ``content`` as it stands in a file."""
    return json.dumps(content, allow_nan=False, indent=1) + "\n"


def publish(path: Path) -> None:
    """Flush the finished temporary file of ``path`` to disk and rename it into place."""
    _settle(part(path), path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write under, which only this process has, to whoever holds no lock.

    What is written there takes the place of ``path`` at the end, and goes after an error.
    """
    own = path.with_name(f"{path.name}.{os.getpid()}.part")
    own.unlink(missing_ok=True)  # no link that stands there is followed
    try:
        yield own
        _settle(own, path)
    finally:
        own.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in the place of ``path``, without a lock."""
    with replacing(path) as own, new_file(own) as file:
        file.write(text.encode())


def _settle(written: Path, path: Path) -> None:
    with written.open("rb") as file:
        os.fsync(file.fileno())  # or a crash of the machine could leave zeros under the name
    written.replace(path)


def is_whole(parquet: Path) -> bool:
    """Whether a parquet file has its end, which is written last; true where there is no file."""
    try:
        with parquet.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < _LEAST_PARQUET:
                return False
            file.seek(-len(_PARQUET_END), os.SEEK_END)
            return file.read() == _PARQUET_END
    except FileNotFoundError:
        return True
    except OSError:
        return False
