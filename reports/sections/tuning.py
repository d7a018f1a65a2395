"""What tuning found and what it cost, task by task, from `tables/tuning.py`."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from gapbench.reports.document.columns import (
    Field,
    counted,
    ends,
    plain,
    read,
    shortened,
    table,
    worded,
)
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Folded, Part, Row, Section, Subheading, Table, Text
from gapbench.reports.figures.board import stems
from gapbench.reports.figures.subset import detailed, undrawn
from gapbench.reports.figures.tuning import Searches, outcomes, sensitivity
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.tuning import Tuned
from gapbench.reports.tables.words import listed

ORDER = 50


def _ended(state: str) -> Field:
    return counted(
        state,
        f"trials that ended so: {state}",
        lambda each: each.summary.tally.states.get(state, 0),
    )


OUTCOME = (
    plain("best", "best validation score of the search", "best"),
    plain("again", "validation score of the winner, mean over fresh seeds", "again"),
    plain("test", "test score of the winner, mean over fresh seeds", "test"),
    plain(
        "optimism",
        "best validation score of the search minus test score, less the same of the default; sign "
        "flipped where lower is better",
        "optimism.mean",
    ),
    ends(
        "optimism 95 %",
        "interval over seeds and test items, for this row alone",
        "optimism.low",
        "optimism.high",
    ),
    plain("default test", "test score of the method's own settings", "default"),
    plain(
        "gain",
        "tuned minus default on test, same seeds; sign flipped where lower is better",
        "gain.mean",
        best="high",
    ),
    ends(
        "gain 95 %",
        "paired interval, all comparisons together",
        "gain.low",
        "gain.high",
        best="high",
    ),
    plain("seeds", "seeds that tuned and default share", "gain.n", 0),
)
COST = (
    counted(
        "tuned settings", "number of settings searched", lambda each: len(each.summary.study.space)
    ),
    plain("trials", "trials charged", "summary.tally.trials", 0),
    plain("compute", "training examples, in trials of plain LoRA", "summary.tally.compute", 1),
    *(_ended(state) for state in ("complete", "pruned", "failed", "running")),
    shortened("seconds", "of training and scoring, all trials", "summary.tally.seconds"),
    shortened("steps", "optimiser updates, all trials", "summary.tally.steps"),
    shortened("examples", "training examples seen, all trials", "summary.tally.examples"),
    shortened("FLOPs", "floating-point operations of training", "summary.tally.flops"),
)
SEARCHED = (
    worded("searched", "", lambda each: _space(each)),
    worded("chosen", "", lambda each: _winner(each)),
    worded("importance", "share of a setting in what sets the best apart", lambda e: _shares(e)),
)
_HOW = (
    "Every method had the same budget and was judged on validation alone. A budget is equal in one "
    "unit, such as trials or compute; the table of costs shows both, and how many settings were "
    "searched. The winner was then retrained on the suite's seeds, which the search never used, "
    "and so were the method's own settings. Optimism is how far the best validation score of the "
    "search lies above the test score of the winner, beyond what separates the two splits for the "
    "method's own settings; gain is what tuning brought on test, seed by seed."
)
_UNCOMPARED = "the winner has not run, few seeds are common, or the difference never varies"
_COST = "What the search took, all trials counted, failed and pruned ones too:"
_SHARES = (
    "What it searched and chose. Importance: share of a setting in what sets the best trials apart "
    "(PED-ANOVA); of few trials it is rough, and shares sum to 1 even where no setting matters."
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where nothing was tuned."""
    if not evidence.studies:
        return None
    studies = sorted(evidence.studies, key=_shared)  # by what they share first, then by method
    groups = [(key, list(block)) for key, block in groupby(studies, key=_shared)]
    parts: list[Part] = [Text(_HOW, quiet=True)]
    parts += undrawn(len(groups))
    names = stems([key for key, _ in groups])
    for count, ((_, block), stem) in enumerate(zip(groups, names, strict=True)):
        searches = Searches(block, evidence.colours, stem)
        parts += _block(evidence, searches, drawn=count < detailed(len(groups)))
    return Section("tuning", "Tuning", tuple(parts))


def _shared(each: Tuned) -> tuple[str, ...]:
    """Return what studies share that are shown together, what matters most first."""
    study = each.summary.study
    return study.task, study.backbone, study.suite, study.start, study.metric, study.direction


def _block(evidence: Evidence, searches: Searches, *, drawn: bool) -> list[Part]:
    """Return what is said of one task and backbone."""
    study = searches.studies[0].summary.study
    heading = f"{searches.place} (suite {study.suite})"
    kinds = (outcomes, sensitivity) if drawn else ()
    figures = [figure for kind in kinds if (figure := kind(searches)) is not None]
    return [
        Subheading(
            f"{heading}: {searches.metric}, {searches.better}",
            {"task": study.task, "backbone": study.backbone},
        ),
        Text(_gains(searches.studies)),
        _table(evidence, f"Outcome of tuning: {heading}", OUTCOME, searches.studies),
        *figures,
        Folded(
            f"Cost and settings of tuning: {heading}",
            (
                Text(_COST, quiet=True),
                _table(evidence, f"Cost of tuning: {heading}", COST, searches.studies),
                Text(_SHARES, quiet=True),
                _table(evidence, f"Searched settings: {heading}", SEARCHED, searches.studies),
            ),
        ),
    ]


def _gains(studies: Sequence[Tuned]) -> str:
    """Say what tuning brought on seeds that the search never used, and how far it flattered."""
    if not any(each.summary.expected_best for each in studies):
        return "No trial has a score."
    kept = [each.name for each in studies if each.kept]
    tested = [each for each in studies if each.gain.low is not None]
    helped = [each.name for each in tested if (each.gain.low or 0.0) > 0]
    harmed = [each.name for each in tested if (each.gain.high or 0.0) < 0]
    sentences = []
    if tested or kept:
        sentences.append(
            f"On test, tuning helped {len(helped)} of {len(tested) + len(kept)} methods beyond "
            f"chance{f' ({listed(helped)})' if helped else ''}"
            f"{f' and harmed {listed(harmed)}' if harmed else ''}: intervals of the gain without "
            "zero, all comparisons together."
        )
    if kept:
        sentences.append(f"Unchanged, since the best trial was the default: {listed(kept)}.")
    if other := [each.name for each in studies if each not in tested and not each.kept]:
        sentences.append(f"Not compared with the default: {listed(other)}; {_UNCOMPARED}.")
    flattered = [each.optimism.mean for each in studies if each.optimism.mean is not None]
    if flattered:
        mean = number(sum(flattered) / len(flattered))
        sentences.append(f"The search's best validation scores flatter by {mean} on average.")
    return " ".join(sentences)


def _table(
    evidence: Evidence, name: str, fields: tuple[Field, ...], block: Sequence[Tuned]
) -> Table:
    lines = [
        Row(
            each.name,
            read(each, fields),
            evidence.colours[each.summary.study.method],
            _facets(each),
        )
        for each in block
    ]
    return table(name, "method", fields, lines)


def _facets(each: Tuned) -> dict[str, str]:
    study = each.summary.study
    names = ("task", "backbone", "method", "variant")
    return {name: getattr(study, name) for name in names}


def _space(each: Tuned) -> str:
    space = each.summary.study.space
    return "; ".join(f"{name} {_range(dimension)}" for name, dimension in space.items())


def _winner(each: Tuned) -> str:
    study = each.summary.study
    winner = next((t.params for t in study.trials if t.number == study.best_number), {})
    return "; ".join(f"{name} {_plain(value)}" for name, value in winner.items()) or "none"


def _shares(each: Tuned) -> str:
    found = each.summary.importances
    shares = (found.shares or {}).items()
    text = "; ".join(f"{name} {number(share, 2)}" for name, share in shares)
    return text or f"unknown: {found.absent}"


def _range(dimension: Any) -> str:
    if dimension.kind == "choice":
        return "in " + ", ".join(map(_plain, dimension.choices))
    scale = ", by order" if dimension.log else ""
    return f"{_plain(dimension.low)} to {_plain(dimension.high)}{scale}"


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
