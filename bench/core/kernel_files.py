"""Values in the files by which the kernel tells of processes and of the machine."""

from pathlib import Path


def kernel_value(file: Path, name: str) -> str | None:
    """Return what follows a name in a file of the kernel, None where nothing does."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.removeprefix(name).strip() for line in lines if line.startswith(name))
    return next(found, None)
