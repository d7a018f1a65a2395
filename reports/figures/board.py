"""What a figure needs to know of one task: its rows, their looks, and its words."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import pandas as pd

from gapbench.bench.metrics.base import metric_in_words
from gapbench.reports.document.columns import facets
from gapbench.reports.document.context import Evidence
from gapbench.reports.figures.layout import MarkerStyle, Named
from gapbench.reports.figures.theme import marker, tip
from gapbench.reports.prose.card_points import settings
from gapbench.reports.results.load import LoadedResults
from gapbench.reports.tables.leaderboard import first_of, rows
from gapbench.reports.tables.terminal import place
from gapbench.reports.verdict.model import Verdict

PRIMES = " Primes beside marks tell the variants of a method apart."
_known: "WeakKeyDictionary[Evidence, list[Board]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Board:
    """Rows of `summarise` that may be compared, in report order.

    Attributes:
        results: where their runs are.
        table: the rows.
        looks: how each row looks, by its name.
        stem: names the board in the names of files, unique in the report.
        verdict: what the data say of the rows.
    """

    results: LoadedResults
    table: pd.DataFrame
    looks: Mapping[str, MarkerStyle]
    stem: str
    verdict: Verdict

    @cached_property
    def rows(self) -> list[Any]:
        """The rows as named tuples."""
        return list(rows(self.table))

    @cached_property
    def row(self) -> dict[str, Any]:
        """The rows by their names."""
        return {row.name: row for row in self.rows}

    @property
    def place(self) -> str:
        """Task, backbone, and the adapter that runs start from."""
        first = self.rows[0]
        return place(first.task, first.backbone, first.start)

    @property
    def metric(self) -> str:
        """The main metric in words; "score" if no run is known."""
        return metric_in_words(next(filter(None, self.table["metric"]), "score"))

    @property
    def upward(self) -> bool:
        """Whether higher is better."""
        return bool(self.table["higher_is_better"].fillna(value=True).all())

    @property
    def better(self) -> str:
        """The direction of the metric in words."""
        return direction(upward=self.upward)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The finished runs of the rows, by run hash."""
        hashes = {run for row in self.rows for run in row.ok_runs.values()}
        runs = self.results.runs
        return runs[runs["run_hash"].isin(hashes)].drop_duplicates("run_hash").set_index("run_hash")

    @property
    def primes(self) -> str:
        """What primes mean, with a space before it; "" if no row has any."""
        return PRIMES if any(look.primes for look in self.looks.values()) else ""

    def named(self, row: Any) -> Named:
        """Return a row's name and look."""
        return Named(row.name, self.looks[row.name], self.tip(row))

    def tip(self, row: Any, text: str = "", *, across: bool = False) -> str:
        """Return the `gid` of a mark of a row: what it shows, its seeds and its settings.

        Args:
            row: a row or an entry of the verdict.
            text: what it shows.
            across: whether the figure shows other tasks too, so that filters by task part them.
        """
        own = self.row[row.name]
        names = (*(("task", "backbone") if across else ()), "method", "variant")
        said = ". ".join(filter(None, (text, self.about(own))))
        return tip({name: facets(own)[name] for name in names}, f"{row.name}: {said}")

    def about(self, row: Any) -> str:
        """Return seeds and settings of a row in words."""
        said = settings(self.verdict[row.name])
        seeds = f"{row.n_seeds} seed{'' if row.n_seeds == 1 else 's'}"
        return ", ".join(filter(None, (seeds, said)))

    def only(self, table: pd.DataFrame) -> "Board":
        """Return the board with some of its rows."""
        return replace(self, table=table)


def direction(*, upward: bool) -> str:
    """Return the direction of a metric in words."""
    return "higher is better" if upward else "lower is better"


def boards(evidence: Evidence) -> list[Board]:
    """Return the boards of a report in their order; its sections share them."""
    if evidence not in _known:
        _known[evidence] = _blocks(evidence)
    return _known[evidence]


def reference_in_words(boards: Sequence[Board]) -> str:
    """Return the row that others are compared with, in words where boards have several."""
    named = {board.verdict.reference for board in boards if board.verdict.reference}
    return named.pop() if len(named) == 1 else "the reference of its suite"


def _blocks(evidence: Evidence) -> list[Board]:
    firsts = [first_of(table) for table in evidence.boards]
    fields = ("task", "backbone", "suite", "start", "setting")
    found = stems([[getattr(row, name) for name in fields] for row in firsts])
    return [
        Board(evidence.results, table, looks(table, evidence.colours), stem, verdict)
        for table, stem, verdict in zip(evidence.boards, found, evidence.by_board, strict=True)
    ]


def looks(table: pd.DataFrame, colours: Mapping[str, str]) -> dict[str, MarkerStyle]:
    """Return how rows look, by their names; variants of a method differ in their primes.

    Args:
        table: rows of `summarise` that may be compared.
        colours: placeholder colour of each method of the report.
    """
    found: dict[str, MarkerStyle] = {}
    variants: Counter[str] = Counter()
    for row in sorted(rows(table), key=lambda row: row.variant != "default"):
        primes = variants[row.method]
        variants[row.method] += 1
        found[row.name] = MarkerStyle(colours[row.method], marker(row.method), primes)
    return found


def identity(row: Any) -> dict[str, str]:
    """Return the first columns of a figure's data: which leaderboard row it is about."""
    names = ("suite", "task", "backbone", "start", "method", "variant", "config_hash")
    return {name: getattr(row, name) for name in names}


def stems(keys: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each key that files may have, all different, and no longer than it takes.

    Args:
        keys: of one length, at least 2; the parts that matter most come first.
    """
    length = max(map(len, keys), default=0)
    for count in range(2, length + 1):
        found = ["-".join(map(_plain, filter(None, key[:count]))) for key in keys]
        if len(set(found)) == len(found):
            return found
    return [f"{_plain(key[0])}-{number}" for number, key in enumerate(keys)]


def _plain(part: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", part)
