"""What papers print: the tables of `results/reference/published` as scores, and which fit a cell.

Their README explains the words. `reports.tables.published_comparison` puts them next to what was
measured.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from gapbench.bench.store.diagnostic import Drop
from gapbench.reports.tables.terminal import number

CERTAINTIES = (
    "read",
    "baseline_source",
    "third_party",
    "reviews",
    "inferred",
    "plot",
    "recalled",
)
"""How a figure is known, the surest first."""

DIGITS = 4
"""Decimals to show, as many as the papers print."""

_UNITS = {"percent": Decimal("0.01"), "fraction": Decimal(1), "score": Decimal(1)}
"""Factors to gapbench's units, by the units of scores; rows in other units are no scores."""

# Where the tables have another name than gapbench.
_BACKBONES = {
    "meta-llama-3-8b": "llama3-8b",
    "llama-2-7b-hf": "llama2-7b",
    "deberta-v2-xxlarge": "deberta-v2-xxl",
}
_TASKS = {"mnli": "mnli_matched", "web_nlg": "web_nlg_all"}
_DROPPED_AT = {"embedding": "input", "head": "output"}
_METRICS = {"f1": "span_f1"}  # of SQuAD, whose answers have no classes


@dataclass(frozen=True)
class PublishedScore:
    """One published score, in gapbench's units.

    Attributes:
        source: paper and place in it.
        method, backbone, task: as the tables spell them.
        metric: as gapbench spells it where it has it.
        variant: settings that the figure states.
        value: the score.
        spread: what stands behind ±, None if nothing.
        aggregate: "mean" or "median" over seeds, "" if unstated.
        certainty: one of `CERTAINTIES`.
        note: what to know before using it.
    """

    source: str
    method: str
    backbone: str
    task: str
    metric: str
    variant: dict[str, str]
    value: float
    spread: float | None
    aggregate: str
    certainty: str
    note: str

    @property
    def text(self) -> str:
        """The value, its spread, and a question mark where nobody has verified it."""
        spread = "" if self.spread is None else f" ± {number(self.spread, DIGITS)}"
        return number(self.value, DIGITS) + spread + ("?" if self.certainty == "recalled" else "")

    @property
    def sureness(self) -> str:
        """The certainty in words."""
        words = self.certainty.replace("_", " ")
        return f"{words}, unverified" if self.certainty == "recalled" else words


@cache
def scores() -> tuple[PublishedScore, ...]:
    """Read the published scores of all papers, in the order of the tables."""
    paths = sorted(
        (path for path in _folder().iterdir() if path.name.endswith(".csv")),
        key=lambda path: path.name,
    )
    return tuple(
        _score(row)
        for path in paths
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        if row["unit"] in _UNITS
    )


def fitting(
    method: str,
    config: Mapping[str, Any],
    variant: str,
    task: str,
    backbone: str,
    drops: Sequence[Drop] = (),
) -> list[PublishedScore]:
    """Return the published scores of a cell, the surest first, whatever their metric.

    Args:
        method: its name.
        config: its resolved settings.
        variant: its label; words such as ``budget=0.16%`` state what no setting does.
        task: its name.
        backbone: name of its folder or repository, in any case.
        drops: what it drops in training; the tables call the first one's rate and pattern its own.
    """
    stated = _stated(config, variant, drops)
    names = {task, _TASKS.get(task)}
    backbone = _BACKBONES.get(backbone.lower(), backbone.lower())
    found = [
        score
        for score in scores()
        if (score.method, score.backbone) == (method, backbone)
        and score.task in names
        and _agrees(score, stated)
    ]
    return sorted(found, key=lambda score: CERTAINTIES.index(score.certainty))


def _folder() -> Traversable:
    """Return the folder of the tables, installed or linked to the repository."""
    return files("gapbench") / "results" / "reference" / "published"


def _score(row: dict[str, str]) -> PublishedScore:
    factor, squad = _UNITS[row["unit"]], row["task"].startswith("squad")
    return PublishedScore(
        source=f"{row['paper']} {row['table']}",
        method=row["method"],
        backbone=row["backbone"],
        task=row["task"],
        metric=_METRICS.get(row["metric"], row["metric"]) if squad else row["metric"],
        variant=dict(pair.split("=") for pair in row["variant"].split()),
        value=float(Decimal(row["value"]) * factor),
        spread=float(Decimal(row["spread"]) * factor) if row["spread"] else None,
        aggregate=row["aggregate"],
        certainty=row["certainty"],
        note=row["note"],
    )


def _stated(config: Mapping[str, Any], variant: str, drops: Sequence[Drop]) -> dict[str, str]:
    """Return a cell's settings in the words of the tables; its label may state more of them."""
    fields = {"rank": "rank", "kl_weight": "consistency_weight"}
    stated = dict(_labelled(variant))
    stated |= {word: str(config[field]) for word, field in fields.items() if field in config}
    if config.get("consistency") == "js":
        stated["compensation"] = "js"
    if drops:
        stated |= {"rate": str(drops[0].rate), "pattern": drops[0].pattern}
    for drop in drops:
        if drop.position in _DROPPED_AT:
            stated["position"] = _DROPPED_AT[drop.position]
    return stated


def _labelled(variant: str) -> Iterator[tuple[str, str]]:
    for word in variant.split():
        name, is_pair, value = word.partition("=")
        if is_pair:
            yield name, value


def _agrees(figure: PublishedScore, stated: dict[str, str]) -> bool:
    """Say whether a cell has every setting that a figure states, and no departure that it lacks."""
    departures = ("compensation", "position")
    return all(_same(stated.get(name), value) for name, value in figure.variant.items()) and all(
        stated.get(name) == figure.variant.get(name) for name in departures
    )


def _same(stated: str | None, wanted: str) -> bool:
    try:
        return float(stated or "nan") == float(wanted)
    except ValueError:
        return stated == wanted
