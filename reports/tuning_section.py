"""What the page says of tuning, a block per task: tables and figures from `reports.tuning`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from reports.cells import Column, Line, Value, ends, line, markup, plain, shortened
from reports.figures.canvas import variable
from reports.figures.searches import budget_curves, sensitivity
from reports.text import number, place
from reports.tuning import Tuned


@dataclass(frozen=True)
class Searched:
    """What one study searched, in words.

    Attributes:
        name: of the method and variant.
        colour: of the method, as CSS.
        space: the settings and their ranges.
        winner: the chosen values.
        shares: importance of the settings, or why it is unknown.
    """

    name: str
    colour: str
    space: str
    winner: str
    shares: str


@dataclass(frozen=True)
class TuningBlock:
    """What the page says of tuning on one task and backbone."""

    title: str
    outcome: list[Line]
    cost: list[Line]
    searched: list[Searched]
    budget_figure: Markup | None
    sensitivity_figure: Markup | None


def _ended(state: str) -> Column:
    return (
        state,
        f"trials that ended so: {state}",
        lambda each: _count(each.summary.tally.states.get(state, 0)),
    )


def _count(value: int) -> Value:
    return Value(str(value), value)


OUTCOME: tuple[Column, ...] = (
    ("best", "best validation score of the search", plain("best")),
    ("again", "validation score of the winner, mean over fresh seeds", plain("again")),
    ("test", "test score of the winner, mean over fresh seeds", plain("test")),
    (
        "optimism",
        "best validation score of the search minus test score; sign flipped where lower is better",
        plain("optimism.mean"),
    ),
    ("optimism 95 %", "Student t interval over seeds", ends("optimism.low", "optimism.high")),
    ("default test", "test score of the method's own settings", plain("default")),
    (
        "gain",
        "tuned minus default on test, same seeds; sign flipped where lower is better",
        plain("gain.mean"),
    ),
    ("gain 95 %", "paired Student t interval over seeds", ends("gain.low", "gain.high")),
    ("seeds", "seeds that tuned and default share", plain("gain.n", 0)),
)
COST: tuple[Column, ...] = (
    (
        "tuned settings",
        "number of settings searched",
        lambda each: _count(len(each.summary.study.space)),
    ),
    ("trials", "trials charged", plain("summary.tally.trials", 0)),
    *(_ended(state) for state in ("complete", "pruned", "failed", "running")),
    ("seconds", "of training and scoring, all trials", shortened("summary.tally.seconds")),
    ("steps", "optimiser updates, all trials", shortened("summary.tally.steps")),
    ("examples", "training examples seen, all trials", shortened("summary.tally.examples")),
    ("FLOPs", "floating-point operations of training", shortened("summary.tally.flops")),
)


def tuning_blocks(found: Sequence[Tuned], colours: dict[str, str]) -> list[TuningBlock]:
    """Return the blocks of the section, none without studies.

    Args:
        found: studies, those of one task together.
        colours: of each method.
    """
    groups = groupby(found, key=_shared)
    return [_block(shared, list(block), colours) for shared, block in groups]


def _shared(each: Tuned) -> tuple[str, ...]:
    study = each.summary.study
    return study.suite, study.task, study.backbone, study.start, study.metric, study.direction


def _block(shared: tuple[str, ...], block: list[Tuned], colours: dict[str, str]) -> TuningBlock:
    suite, *where, metric, direction = shared
    better = "higher is better" if direction == "maximize" else "lower is better"
    return TuningBlock(
        title=f"{place(*where)} (suite {suite}): {metric}, {better}",
        outcome=_lines(block, OUTCOME, colours),
        cost=_lines(block, COST, colours),
        searched=[_searched(each, colours) for each in block],
        budget_figure=markup(budget_curves(block, colours)),
        sensitivity_figure=markup(sensitivity(block, colours)),
    )


def _lines(block: list[Tuned], columns: tuple[Column, ...], colours: dict[str, str]) -> list[Line]:
    return [line(t.name, colours[t.summary.study.method], t, columns) for t in block]


def _searched(each: Tuned, colours: dict[str, str]) -> Searched:
    study, found = each.summary.study, each.summary.importances
    winner = next((t.params for t in study.trials if t.number == study.best_number), {})
    shares = (found.shares or {}).items()
    return Searched(
        name=each.name,
        colour=variable(colours[study.method]),
        space="; ".join(f"{name} {_range(dim)}" for name, dim in study.space.items()),
        winner="; ".join(f"{name} {_plain(value)}" for name, value in winner.items()) or "none",
        shares="; ".join(f"{name} {number(share, 2)}" for name, share in shares)
        or f"unknown: {found.absent}",
    )


def _range(dimension: Any) -> str:
    if dimension.kind == "choice":
        return "in " + ", ".join(map(_plain, dimension.choices))
    scale = ", by order" if dimension.log else ""
    return f"{_plain(dimension.low)} to {_plain(dimension.high)}{scale}"


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
