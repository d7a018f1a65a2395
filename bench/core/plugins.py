"""Methods of other packages: the entry-point group that they are found through."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

METHODS = "gapbench.methods"


def method_entry_points() -> Iterable[EntryPoint]:
    """Return the entry points of all installed methods, sorted by name."""
    return sorted(entry_points(group=METHODS), key=lambda entry: entry.name)
