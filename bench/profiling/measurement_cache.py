"""Cache of measurements of this machine, so that each is made once.

The key of an entry names everything it depends on, the machine included. Losing the file costs only
the time of measuring again: decisions based on it are stored in the settings of runs.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gapbench.bench.core.files import lock, write_text
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data.digests import cache_folder
from gapbench.bench.store.provenance import device_name

_doubtful: dict[tuple[Path, str], Any] = {}


def key_of(subject: Mapping[str, Any], device: torch.device) -> str:
    """Return the key of a measurement of ``subject`` on a device of this machine."""
    machine = [device_name(device), torch.get_num_threads(), torch.__version__]
    return content_hash([machine, dict(subject)])[:16]


def recall(key: str) -> Any:
    """Return a stored measurement, or one of this process; None if there is none to be read."""
    return _read().get(key, _doubtful.get((_path(), key)))


def remember(key: str, value: Any, *, sure: bool = True) -> None:
    """Store a measurement; if two processes measured the same, the later one counts.

    Args:
        key: of what was measured.
        value: as JSON holds it.
        sure: whether nothing disturbed it; else it is kept for this process alone.
    """
    path = _path()
    if not sure:
        _doubtful[path, key] = value
        return
    with suppress(OSError):  # for example, the disk is full: it will be measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock(path.with_suffix(".lock")):
            write_text(path, json.dumps(_read() | {key: value}, indent=1))


def _path() -> Path:
    return cache_folder() / "measured.json"


def _read() -> dict[str, Any]:
    try:
        content = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
