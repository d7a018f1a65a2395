"""Names as parts of paths, and files that are written where they seem to be and nowhere else.

A results folder may be shared, and whoever can write to it can plant a link there. What is written
replaces such a link instead of following it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gapbench.bench.core.errors import StoreError

_LONGEST = 200  # file systems allow 255 bytes, and endings come behind
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows


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


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is new: a file or link that stands in its place goes first."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # exclusive: no link is followed that comes in between
        yield file
