"""The card of a race: what is advised, beside plain LoRA or the best other arm."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gapbench.bench.api.progress import span
from gapbench.reports.document.model import Card, Measure
from gapbench.reports.tables.words import times

if TYPE_CHECKING:
    from gapbench.bench.api.advising.answer import Advice

_NAMES = {
    "gap": "generalization gap",
    "ece": "calibration error (ECE)",
    "cost": "cost beside LoRA",
}


def card(advice: "Advice") -> Card:
    """Return the answer of a race, on the rows of its folds."""
    beside, role = _beside(advice)
    return Card(
        about=f"{advice.task} on {advice.backbone}, race on the folds of its rows",
        headline=advice.headline,
        certainty=advice.certainty,
        heads=((advice.winner, "advised"), (beside, role)),
        measures=tuple(_measures(advice, beside)) if beside else (),
        points={name: said for name, said in _points(advice) if said},
    )


def _beside(advice: "Advice") -> tuple[str, str]:
    """Return the arm that the winner is shown beside, and what that is."""
    if not advice.winner or advice.winner != advice.reference:
        return (advice.reference, "plain LoRA") if advice.winner else ("", "")
    state = advice.state
    stayed = {row.arm: row.blocks for row in advice.rows}  # a mean of few blocks comes last
    known = [arm for arm in state.losses if arm != advice.winner]
    known.sort(key=lambda arm: (-stayed.get(arm, 0), state.losses[arm]))
    return next(iter([*state.ties, *known]), ""), "best other"


def _measures(advice: "Advice", beside: str) -> Iterator[Measure]:
    own, other = advice[advice.winner], advice[beside]
    for attribute, name in {"score": advice.metric, **_NAMES}.items():
        values = getattr(own, attribute), getattr(other, attribute)
        if None not in values:
            dear = attribute == "cost"
            left, right = (times(v) if dear else f"{v:.3f}" for v in values)
            apart = "" if dear else f"{values[0] - values[1]:+.3f}"
            yield Measure(name, left, right, apart, "")


def _points(advice: "Advice") -> Iterator[tuple[str, str]]:
    state = advice.state
    if advice.winner:
        yield "Settings", _settings(advice[advice.winner].settings)
        yield "Ties", ", ".join(state.ties) or "none"
    yield "Would change it", advice.changes
    yield (
        "Race",
        f"{len(advice.rows)} arms, {state.blocks} blocks, {_runs(advice)}, "
        f"{span(advice.seconds)} in this call",
    )
    yield "To fit the time", advice.cut
    gone = [f"{each.arm} at block {each.block}: {each.reason}" for each in state.out]
    yield "Left the race", "; ".join(gone)


def _runs(advice: "Advice") -> str:
    if advice.saved is None:
        return f"{advice.runs} runs so far, {advice.grid} at most"
    return f"{advice.runs} runs instead of {advice.grid} ({advice.saved:.0%} saved)"


def _settings(settings: Mapping[str, Any]) -> str:
    known = {name.replace("_", " "): value for name, value in settings.items() if value is not None}
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in known.items()
    )
