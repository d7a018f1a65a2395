"""Commands that report on a results folder: report, leaderboard, compare. They load no engine."""

import argparse
import json
from importlib import import_module
from typing import Any

from gapbench.bench.cli.main import EXIT_OK


def report_command(options: argparse.Namespace) -> int:
    """Write the report's files and print where they are."""
    out = options.out or options.results / "report"
    built = import_module("gapbench.reports.render.build").build(
        options.results, out, _selection(options)
    )
    for path in built.paths:
        print(path)
    return EXIT_OK


def leaderboard_command(options: argparse.Namespace) -> int:
    """Print the leaderboard in the form that is asked for."""
    forms = [form for form in ("markdown", "latex", "json") if getattr(options, form)]
    terminal = import_module("gapbench.reports.render.build").terminal
    print(terminal(options.results, _selection(options), *forms), end="")
    return EXIT_OK


def compare_command(options: argparse.Namespace) -> int:
    """Print how two methods differ, task by task."""
    part = import_module("gapbench.reports.results.selection").Selection(
        *((name,) if name else () for name in (options.task, options.backbone))
    )
    compare, compared = map(
        import_module, ("gapbench.reports.tables.compare", "gapbench.reports.prose.comparison_text")
    )
    found = compare.compare(options.results, options.first, options.second, part)
    print(
        json.dumps(compared.content(found)) if options.json else compared.format_comparison(found)
    )
    return EXIT_OK


def _selection(options: argparse.Namespace) -> Any:
    """Return the part of a results folder that a command was given."""
    selection = import_module("gapbench.reports.results.selection").Selection
    return selection(options.tasks, options.backbones, options.methods)
