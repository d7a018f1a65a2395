"""From a call of `advise` to its race, and from the race to the answer."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from gapbench.bench.adaptation import registry
from gapbench.bench.advice.arms import Arm, design
from gapbench.bench.advice.blocks import BlockReader, groups_of_rows, raced_metric
from gapbench.bench.advice.state import Rules, State
from gapbench.bench.advice.trimming import RaceBounds, StoredDesign
from gapbench.bench.api.advise import advise
from gapbench.bench.api.advising.answer import Advice
from gapbench.bench.api.advising.course import FINAL, Course
from gapbench.bench.api.advising.expected_time import ExpectedTime
from gapbench.bench.api.advising.own_rows import OwnRows, own_rows
from gapbench.bench.api.choices import ARMS, check_above_zero
from gapbench.bench.api.outcome import CallOutcome
from gapbench.bench.api.progress import say
from gapbench.bench.api.spelled_call import spelled
from gapbench.bench.api.training import Work
from gapbench.bench.config.run import NestedFolds, Run
from gapbench.bench.core.errors import BenchError, ConfigError
from gapbench.bench.execution.export import export
from gapbench.bench.metrics.base import get as get_metric
from gapbench.bench.store.store import RACE, store_at
from gapbench.bench.tasks import kinds

SEEDS = 5
"""Final runs of each arm that is scored on the test rows."""
MATTERS = 0.01
"""Difference that matters if the user names none, as a share of the best possible score."""
_OF_ROWS = ("label", "target", "kind", "group", "test")
_OF_SUITES = ("tasks", "data")


def advised(given: Mapping[str, Any]) -> Advice:
    """Do the work of a call of `advise`."""
    check_above_zero(given, "arms", "folds", "repeats")
    check_above_zero(
        given, "budget", "matters", "at_most_cost", "at_most_ece", "at_most_seconds", whole=False
    )
    if given["folds"] < 2:
        raise ConfigError(f"folds is {given['folds']}; rows are cut into 2 folds or more")
    if given["folds"] * given["repeats"] > FINAL:
        raise ConfigError(
            f"folds is {given['folds']} and repeats is {given['repeats']}; at most {FINAL} blocks"
        )
    began = time.monotonic()
    _refuse_of_the_other_form(given)
    own = None if given["text"] is None else own_rows(given)
    work = _work(given, own)
    course = _course(work, given, began, own)
    course.forecast()
    ended = list[State]()

    def do(told: Work) -> CallOutcome:
        course.work = told
        state, raced = course.race()
        ended.append(state)
        final = course.final(state) if state.winner is not None else CallOutcome()
        return final if final.runs else raced

    results, settings = work.recorded(do), work.settings
    advice = course.advice(ended[0], results)
    page = advice.write(settings.results)
    say(f"page: {page}", progress=work.progress)
    if given["export"] is not None and advice.final:
        best = course.arm(advice.winner)
        run = Run(best.on("fixed"), course.seeds[0])
        try:
            exported = export(
                store_at(settings.results),
                run.hash,
                settings.sources,
                settings.device,
                Path(given["export"]),
            )
        except BenchError as error:  # the answer stands without an adapter
            say(f"no adapter: {error}")
        else:
            say(repr(exported), progress=work.progress)
    return advice


def _work(given: Mapping[str, Any], own: OwnRows | None) -> Work:
    """Return the call with one cell for each method, on one task and backbone."""
    chosen = {**given, "command": given["command"] or spelled(advise, given)}
    if own is not None:
        chosen["source"] = own.suite
        chosen["methods"] = chosen["backbone"] = chosen["tasks"] = chosen["data"] = None
    chosen |= {"suite": chosen.pop("source"), "seeds": None, "stack": None}
    chosen |= {"retry": None, "track": None, "time_budget": given["budget"]}
    work = Work.of(advise, chosen)
    if work.wanted.suite.protocol == "paper":
        raise ConfigError(
            f"suite {work.wanted.suite.name!r}: under protocol 'paper' validation is the test "
            "split, so the race would choose on it; give a suite with protocol 'strict'"
        )
    methods = dict.fromkeys(each.run.cell for each in work.wanted.planned)
    tasks = {cell.task.name for cell in methods}
    places = {cell.backbone.name for cell in methods}
    if len(tasks) > 1 or len(places) > 1:
        raise ConfigError(
            f"suite {work.wanted.suite.name!r} has tasks {', '.join(sorted(tasks))} on backbones "
            f"{', '.join(sorted(places))}; pick one of each with --tasks and --backbone"
        )
    return work


def _refuse_of_the_other_form(given: Mapping[str, Any]) -> None:
    """Refuse what only a suite can be asked for beside own rows, and what only these can."""
    if given["text"] is None and isinstance(given["source"], pd.DataFrame):
        raise ConfigError("text: name the columns that the model reads")
    form, others = ("a suite", _OF_ROWS) if given["text"] is None else ("own rows", _OF_SUITES)
    if unused := [name for name in others if given[name] is not None]:
        way_out = "; for own rows, name the columns of their texts too" * (others is _OF_ROWS)
        raise ConfigError(f"{form} cannot be given {', '.join(unused)}{way_out}")


def _course(work: Work, given: Mapping[str, Any], began: float, own: OwnRows | None) -> Course:
    """Lay out the race.

    Raises:
        ConfigError, DataError: if there can be no such race of the rows.
    """
    cells = {each.run.cell: each.variant for each in work.wanted.planned}
    named = [Arm(cell, variant) for cell, variant in cells.items()]
    if given["methods"] is None:  # a suite may hold rows that train nothing
        named = [arm for arm in named if registry.get(arm.cell.method).trains]
    elif given["arms"] and given["arms"] < len(named):
        raise ConfigError(
            f"--arms {given['arms']}: {len(named)} methods race, lora included; give at least as "
            "many arms"
        )
    arms = design(named, given["arms"] or ARMS)
    store = store_at(work.settings.results / RACE)
    folds = NestedFolds(folds=given["folds"], nested=True)
    rules = _rules(given, arms)
    blocks = rules.folds * rules.repeats
    groups = groups_of_rows(arms[0].on(folds), blocks, work.settings.sources)
    reader = BlockReader(store, arms, folds, groups)
    ends = math.inf if given["budget"] is None else began + given["budget"]
    kept = len(arms) if given["arms"] else len(named) if given["methods"] else 1
    fewest_epochs, leaked = (None, 0) if own is None else (own.fewest_epochs, own.leaked)
    bounds = RaceBounds(ends, given["folds"], SEEDS, kept, fewest_epochs)
    expected, exports = (
        ExpectedTime(store, work.settings, work.progress),
        given["export"] is not None,
    )

    def begun(arms: Sequence[Arm]) -> bool:
        return bool(replace(reader, arms=arms).blocks())

    stored = StoredDesign(store.root, arms, folds, given["budget"], begun)
    return Course(work, reader, rules, bounds, stored, began, expected, leaked, exports)


def _rules(given: Mapping[str, Any], arms: Sequence[Arm]) -> Rules:
    """Return the rules of a race of these arms, LoRA first.

    Raises:
        ConfigError: if a constraint or the margin cannot be had on the task.
    """
    task = arms[0].cell.task
    if given["at_most_ece"] is not None and not kinds.get(task.kind).calibrates():
        raise ConfigError(
            f"--at-most-ece: task {task.name!r} is {task.kind}, which has no calibration error; "
            "leave it out"
        )
    metric = get_metric(raced_metric(task))
    best = metric.range[1] if metric.higher_is_better else math.inf
    margin = given["matters"] or MATTERS * best
    if math.isinf(margin):
        raise ConfigError(
            f"--matters: metric {metric.name!r} of task {task.name!r} has no best score, so the "
            "least difference that matters must be given"
        )
    return Rules(
        margin=margin,
        folds=given["folds"],
        reference=arms[0].name,
        repeats=1 if task.joined else given["repeats"],  # items of a text hold inside a repeat
        most_cost=given["at_most_cost"],
        most_seconds=given["at_most_seconds"],
        most_ece=given["at_most_ece"],
    )
