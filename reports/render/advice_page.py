"""The page of `gapbench advise`: the card of the race, that of the test rows, and the race."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.document.model import Card, Column, Document, Row, Section, Table, Text, Value
from gapbench.reports.figures.race import race
from gapbench.reports.figures.theme import colour
from gapbench.reports.prose.glossary import glossary
from gapbench.reports.render import figure_files, html

_COLUMNS = {
    "blocks": Column("blocks", "that it took part in", best="high"),
    "score": Column("score", "mean on the folds of these blocks"),
    "gap": Column("gap", "score on training rows minus that on the fold"),
    "ece": Column("ECE", "on the folds"),
    "cost": Column("cost", "time of training and scoring beside plain LoRA"),
    "why": Column("why it left", kind="text"),
}

_DIGITS = {"blocks": 0, "cost": 1}  # after the point; 3 elsewhere


def document(
    cards: Sequence[Card],
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    winner: str,
    saved: float | None,
) -> Document:
    """Return the page.

    Args:
        cards: the answer of the race, then that on the test rows if there is one.
        rows: arms with their means, as `reports.figures.race.race` takes them.
        metric: metric of the scores.
        winner: the advised arm, "" if there is none.
        saved: share of the runs of the full grid that were not needed, None while the race goes on.
    """
    metric = metric_in_words(metric)
    table = Table(
        f"Arms of the race; scores are {metric}",
        "arm",
        tuple(_COLUMNS.values()),
        tuple(
            Row(
                row["arm"],
                tuple(_value(name, row[name]) for name in _COLUMNS),
                colour(row["method"]),
            )
            for row in rows
        ),
    )
    said = "The race is not over."
    if saved is not None:
        said = f"The race needed {1 - saved:.0%} of the runs of all arms on all planned blocks."
    return Document(
        title=f"Advice: {cards[0].about}",
        subtitle=cards[0].headline,
        sections=(
            Section("answer", "Answer", tuple(cards)),
            Section("race", "Race", (Text(said), race(rows, metric, winner), table)),
        ),
        glossary=glossary({metric}),
    )


def write(page: Document, folder: Path) -> None:
    """Write ``advice.html``, and its figure to ``figures``.

    Raises:
        OSError: if a file cannot be written.
    """
    html.write(page, folder / "advice.html")
    figure_files.write(page, folder / "figures")


def _value(name: str, value: Any) -> Value:
    if isinstance(value, str):
        return Value(value)
    return Value("") if value is None else Value(f"{value:.{_DIGITS.get(name, 3)}f}", float(value))
