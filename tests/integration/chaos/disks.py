"""A disk of a few kilobytes, for tests of what happens when it is full."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Give a new folder that holds so many KiB; skip the test where none can be mounted."""
    folder.mkdir(parents=True)
    if (unsupported_reason := mount(folder, kib)) is not None:
        pytest.skip(unsupported_reason)
    try:
        yield folder
    finally:
        unmount(folder)


def mount(folder: Path, kib: int) -> str | None:
    """Lay a file system in memory over a folder; return why that cannot be."""
    program = shutil.which("mount")
    if program is None:
        return "there is no program mount"
    done = subprocess.run(
        [program, "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no small disk: {done.stderr.strip()}" if done.returncode else None


def resize(folder: Path, kib: int) -> None:
    """Give a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={kib}k", str(folder)], check=True)  # noqa: S607


def unmount(folder: Path) -> None:
    """Take a small disk away, also while a killed process still holds a file of it."""
    subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607


def fill(path: Path) -> None:
    """Let one file take all the room that is left; its last bytes too."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
