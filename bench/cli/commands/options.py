"""From parsed options to what they name: suite, sources and planned runs."""

import argparse
import sys

from gapbench.bench.config.run import Precision
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from gapbench.bench.experiment.suite import PlannedRun, Suite
from gapbench.bench.profiling import auto_precision
from gapbench.bench.store.event_log import typed


def planned_by(options: argparse.Namespace) -> tuple[Suite, Sources, list[PlannedRun]]:
    """Return the suite that a command was given, its sources, and all of its runs."""
    suite, path = suites.load(options.suite)
    suite = suites.restrict(
        suite,
        methods=options.methods,
        task_names=options.tasks,
        seeds=options.seeds,
        backbone=options.backbone,
        precision=options.precision,
    )
    sources = Sources(options.data, offline=options.offline)
    if suite.precision == "auto":
        for name in suite.all_backbones:
            sources.backbone(name)  # refused here, where it must not be asked for
        suite = suites.restrict(suite, precision=_measured_precision(suite, options))
    return suite, sources, suites.expand(suite, sources, path)


def _measured_precision(suite: Suite, options: argparse.Namespace) -> Precision:
    """Return what the precision `auto` of a suite is here, and say so."""
    device = choose_device(getattr(options, "device", "auto"))
    chosen = auto_precision.choose(suite.all_backbones, suite.budget.batch_size, device)
    print(f"precision auto: {chosen} on this machine", file=sys.stderr)
    return chosen


def sources_of(options: argparse.Namespace) -> Sources:
    """Return the data, backbone and adapter that a command on a stored run was given."""
    sources = Sources(options.data, offline=options.offline)
    if options.backbone:
        sources.backbone(options.backbone)
    if options.start:
        sources.start(options.start)
    return sources


def command_of(options: argparse.Namespace) -> str:
    """Return the command line as typed, without what it tried again."""
    kept: list[str] = []
    words = iter(options.words)
    for word in words:
        flag, given, _ = word.partition("=")
        if len(flag) > len("--re") and "--retry".startswith(flag):  # as argparse takes it
            if not given:
                next(words)
            continue
        kept.append(word)
    return typed(kept)
