"""Tables of what is built in, one function each, for `gapbench list`."""

from typing import Any

from gapbench.bench.adaptation import registry
from gapbench.bench.config import task as known_tasks
from gapbench.bench.data.sources import builtin_backbones
from gapbench.bench.experiment import suite as known_suites
from gapbench.bench.metrics import base as known_metrics

Listing = list[dict[str, Any]]


def methods() -> Listing:
    """Return methods, what a tuner may vary and what they cost beside LoRA."""
    return [
        {
            "name": name,
            "tuned": ", ".join(cls.search_space()) or None,
            "stackable": cls.stackable,
            "relative_cost": cls.relative_cost(cls.Config()) if cls.trains else None,
            "reference": cls.reference,
        }
        for name, cls in registry.discover().items()
    ]


def tasks() -> Listing:
    """Return tasks with kind and metrics."""
    loaded = [known_tasks.load(name) for name in known_tasks.builtin_names()]
    return [
        {
            "name": t.name,
            "kind": t.kind,
            "metrics": ", ".join(t.metrics),
            "description": t.description,
        }
        for t in loaded
    ]


def suites() -> Listing:
    """Return suites and the size of their grids."""
    loaded = [(name, known_suites.load(name)[0]) for name in known_suites.builtin_names()]
    return [
        {
            "name": name,
            "tasks": len(s.tasks),
            "methods": len(s.methods),
            "seeds": len(s.seeds),
            "description": s.description,
        }
        for name, s in loaded
    ]


def metrics() -> Listing:
    """Return metrics and what they measure."""
    return [
        {
            "name": m.name,
            "kind": m.measures,
            "higher_is_better": m.higher_is_better,
            "description": m.description,
        }
        for m in known_metrics.discover().values()
    ]


def backbones() -> Listing:
    """Return the backbones that travel with the package."""
    return [{"name": name} for name in builtin_backbones()]
