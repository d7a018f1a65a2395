"""Provenance of a result: versions, hash of the code, device, state of the repository."""

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gapbench.bench.core import plugins
from gapbench.bench.core.kernel_files import kernel_value
from gapbench.bench.core.schema import content_hash
from gapbench.bench.store.record import Provenance

if TYPE_CHECKING:  # who reads records alone waits for no torch
    import torch

_PACKAGES = ("gapbench", "torch", "transformers", "datasets", "numpy", "peft", "bitsandbytes")


def describe(device: "torch.device", started_at: datetime) -> Provenance:
    """Return the provenance of a run that began at ``started_at`` (UTC)."""
    import torch

    commit, dirty = _git_state()
    return Provenance(
        started_at=started_at,
        versions=versions(),
        code_hash=code_hash(),
        device=device_name(device),
        device_type=device.type,
        threads=torch.get_num_threads(),
        git_commit=commit,
        git_dirty=dirty,
    )


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@cache
def device_name(device: "torch.device") -> str:
    """Return the maker's name of a device."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    name = kernel_value(Path("/proc/cpuinfo"), "model name")
    return name.lstrip(": ") if name else platform.processor() or platform.machine()


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def code_hash() -> str:
    """Return the hash of the source of bench and of all methods, installed and registered."""
    own = sorted((name, source) for name, (_, source) in plugins.registered.items())
    return content_hash([_installed_hash(), own])[:16] if own else _installed_hash()


@cache
def _installed_hash() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for package in ("gapbench.bench", "gapbench.methods"):
        yield from sorted(Path(str(files(package))).rglob("*.py"))
    found = {entry.module.partition(".")[0] for entry in plugins.method_entry_points()}
    for name in sorted(found):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            whole = origin.name == "__init__.py"
            yield from sorted(origin.parent.rglob("*.py")) if whole else [origin]


@cache
def _git_state() -> tuple[str | None, bool | None]:
    """Return the commit and whether files differ from it, if the code runs from its repository."""
    root = Path(str(files("gapbench.bench"))).resolve().parent  # where an editable link leads
    if not (root / ".git").exists():
        return None, None
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit, None if status is None else bool(status)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(root), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
