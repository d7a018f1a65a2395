"""The trackers that finished runs can be sent to: one file each, with a function `send`.

A tracker reads what the store holds and changes nothing of it. The package of a tracker is loaded
only when it is asked for.
"""

import pkgutil
from typing import TYPE_CHECKING

from gapbench.bench.core.extras import import_extra

if TYPE_CHECKING:
    from gapbench.bench.tracking.base import Send


def names() -> list[str]:
    """Return the names of all trackers: the files beside this one, except `base` and `_...`."""
    found = {module.name for module in pkgutil.iter_modules(__path__)} - {"base"}
    return sorted(name for name in found if not name.startswith("_"))


def find(name: str) -> "Send":
    """Return the function that sends a run to a tracker.

    Raises:
        ConfigError: if the tracker's package is not installed.
    """
    module = import_extra(f"{__name__}.{name}", f"tracker {name}", name)
    send: Send = module.send
    return send
