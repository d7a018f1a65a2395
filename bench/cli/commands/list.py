"""Show what is built in."""

import argparse
from typing import Any

from gapbench.bench.api.choices import OK
from gapbench.bench.cli import arguments

EXAMPLE = "gapbench list methods"
ORDER = 10

Listing = list[dict[str, Any]]


def _methods() -> Listing:
    """Return methods, their search spaces and their costs relative to LoRA."""
    from gapbench.bench.adaptation import registry

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


def _tasks() -> Listing:
    """Return tasks with kind and metrics."""
    from gapbench.bench.config.task_files import builtin_names, load

    return [
        {
            "name": task.name,
            "kind": task.kind,
            "metrics": ", ".join(task.metrics),
            "description": task.description,
        }
        for task in map(load, builtin_names())
    ]


def _suites() -> Listing:
    """Return suites and the size of their grids."""
    from gapbench.bench.experiment.suite import builtin_names, load

    return [
        {
            "name": name,
            "tasks": len(suite.tasks),
            "methods": len(suite.methods),
            "seeds": len(suite.seeds),
            "description": suite.description,
        }
        for name in builtin_names()
        for suite, _ in [load(name)]
    ]


def _metrics() -> Listing:
    """Return metrics and the quantities that they measure."""
    from gapbench.bench.metrics.base import discover

    return [
        {
            "name": metric.name,
            "measures": metric.measures,
            "higher_is_better": metric.higher_is_better,
            "description": metric.description,
        }
        for metric in discover().values()
    ]


def _backbones() -> Listing:
    """Return the backbones in the package."""
    from gapbench.bench.data.sources import builtin_backbones

    return [{"name": name} for name in builtin_backbones()]


_LISTINGS = {
    "methods": _methods,
    "tasks": _tasks,
    "suites": _suites,
    "metrics": _metrics,
    "backbones": _backbones,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be typed after the name."""
    parser.add_argument("what", choices=list(_LISTINGS))
    arguments.json(parser)


def main(options: argparse.Namespace) -> int:
    """Print what is built in: methods, tasks, suites, metrics or backbones."""
    from gapbench.bench.cli.printing import print_rows

    print_rows(_LISTINGS[options.what](), as_json=options.json)
    return OK
