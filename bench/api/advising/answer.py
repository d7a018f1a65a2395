"""The answer of `advise`: a card for the terminal, the same as plain data, and the runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from gapbench.bench.advice.state import Rules, State
from gapbench.bench.api.advising.race_card import card
from gapbench.bench.api.advising.rows import ArmRow
from gapbench.bench.api.advising.sealed_rows import verdict_of
from gapbench.bench.api.progress import span
from gapbench.bench.api.results import Results
from gapbench.bench.core.errors import StoreError
from gapbench.reports.document.model import Card
from gapbench.reports.prose.check_card import check
from gapbench.reports.render import advice_page, card_text
from gapbench.reports.render.files import put
from gapbench.reports.verdict.model import Verdict
from gapbench.reports.verdict.plain import plain


@dataclass(frozen=True, repr=False)
class Advice:
    """What to use, and how sure that is.

    Attributes:
        suite, task, backbone, metric: what the answer is about.
        state: the race.
        rules: its rules.
        reference: the arm of plain LoRA that the race found best.
        rows: all arms, in the order of the design.
        runs: number of runs of the race.
        grid: number of runs of all arms on all planned blocks.
        seconds: time of this call.
        seconds_left: expected time of the planned blocks that are left.
        tested: hashes of the runs that were scored on the test rows, by arm, the winner first;
            empty while the winner or the reference is not.
        leaked: number of rows of ``--test`` whose texts are in the file of training rows too.
        cut: what was left out so that the race fits its time, "" for nothing.
        results: the runs on test rows.
    """

    suite: str
    task: str
    backbone: str
    metric: str
    state: State
    rules: Rules
    reference: str
    rows: Sequence[ArmRow]
    runs: int
    grid: int
    seconds: float
    seconds_left: float
    tested: Mapping[str, Sequence[str]]
    leaked: int
    cut: str
    results: Results

    @property
    def winner(self) -> str:
        """The advised arm, "" if there is none yet."""
        return self.state.winner or ""

    @property
    def final(self) -> bool:
        """Whether the winner and the reference were scored on the test rows."""
        return bool(self.tested)

    def __getitem__(self, arm: str) -> ArmRow:
        """Return the row of an arm.

        Raises:
            KeyError: if there is none.
        """
        return {row.arm: row for row in self.rows}[arm]

    @property
    def _limited(self) -> bool:
        """Whether some arms left may be above the limit on calibration error."""
        return self.rules.most_ece is not None and self.state.blocks < self.rules.folds

    @property
    def _others(self) -> str:
        """Name the arms that the winner was compared with to the end."""
        if self._limited:
            return "other arm within the limit"
        refused = any(not departure.by for departure in self.state.out)
        return "other arm that may be used" if refused else "other arm"

    @property
    def headline(self) -> str:
        """What to use."""
        if not self.state.left:
            return "No arm is left: all failed or break a constraint."
        if not self.winner and self._limited and self.state.blocks > 1:
            return "No arm left keeps the limit on calibration error so far."
        if not self.winner:
            return "The time ended before any comparison was possible."
        gone = {departure.arm: departure for departure in self.state.out}
        if self.winner == self.rules.reference:
            return f"Use {self.winner}: nothing was shown to be better."
        if self.rules.reference not in gone:
            return (
                f"Use {self.winner}: the best of those that nothing beats. It was not shown to be "
                f"better than {self.rules.reference}."
            )
        left = gone[self.rules.reference]
        why = "is beaten" if left.by else f"left the race: it {left.reason}"
        said = f"Use {self.winner}: it is among the best, and {self.rules.reference} {why}"
        if self.reference in self.state.ties:
            return f"{said}, but {self.reference} is not."
        return f"{said}."

    @property
    def certainty(self) -> str:
        """How sure that is, in words."""
        state = self.state
        if not self.winner:
            return ""
        sure = f"{100 * (1 - self.rules.alpha):g} %"
        bound = max(state.at_most, 0.0)
        said = f"No {self._others} is better by more than {bound:.3f} {self.metric}, {sure} sure."
        if state.decided:
            return f"{said} That is within the {self.rules.margin:g} that matters: decided."
        return f"{said} Undecided: {len(state.left)} arms are left."

    @property
    def changes(self) -> str:
        """What would change the answer."""
        state = self.state
        if not self.winner:
            return "run the same command again with more time, or with fewer arms"
        if state.decided:
            more = "the arms left out, if --methods names theirs" if self.cut else "more arms"
            return f"nothing that these rows can show; other rows, another backbone or {more}"
        if state.futile:
            return (
                f"more rows: these tell differences of {state.resolvable:.3f} apart however often "
                "they are cut again, and those of the arms left are smaller"
            )
        if not self.seconds_left:
            return (
                "more planned blocks (--repeats): those done tell differences of "
                f"{state.resolved:.3f} apart"
            )
        return (
            f"about {span(self.seconds_left)} more would tell differences of "
            f"{state.resolvable:.3f} apart, against {state.resolved:.3f} now; run the same command "
            "again"
        )

    @property
    def saved(self) -> float | None:
        """Share of the runs of the full grid that were not needed; None while the race goes on."""
        return 1 - self.runs / self.grid if self.state.over else None

    @property
    def content(self) -> dict[str, Any]:
        """All of it as plain data; unknown numbers are None."""
        state = asdict(self.state)
        bounds = {name: state[name] for name in ("at_most", "resolved", "resolvable")}
        return {
            "suite": self.suite,
            "task": self.task,
            "backbone": self.backbone,
            "metric": self.metric,
            "winner": self.winner,
            "headline": self.headline,
            "certainty": self.certainty,
            "changes": self.changes,
            "reference": self.reference,
            "race": {name: state[name] for name in ("blocks", "left", "out", "decided", "futile")}
            | {name: value if isfinite(value) else None for name, value in bounds.items()},
            "rules": asdict(self.rules),
            "arms": [dict(vars(row)) for row in self.rows],
            "runs": self.runs,
            "grid": self.grid,
            "saved": self.saved,
            "seconds": self.seconds,
            "seconds_left": self.seconds_left,
            "final": self.final,
            "cut": self.cut,
            "test": self._test_content,
        }

    @property
    def card(self) -> Card:
        """The answer of the race, on the rows of its folds."""
        return card(self)

    @cached_property
    def test(self) -> Verdict | None:
        """What the sealed test rows say, None while they are sealed."""
        if not self.final:
            return None
        beside = self.reference if self.reference in self.tested else self.winner
        runs = {run for own in self.tested.values() for run in own}
        return verdict_of(self.results.path, self.suite, runs, beside, self.rules.margin)

    @cached_property
    def checked(self) -> Card | None:
        """The winner on the test rows, beside the reference; None while they are sealed."""
        if self.test is None:
            return None
        return check(self.test, self.winner, self.leaked)

    @property
    def _test_content(self) -> dict[str, Any] | None:
        if not (self.test and self.checked):
            return None
        shown = {name: plain(self.test)[name] for name in ("reference", "entries", "pairs")}
        return {"headline": self.checked.headline, "certainty": self.checked.certainty} | shown

    def write(self, folder: Path) -> Path:
        """Write the page ``advice.html`` and ``advice.json``; return the page.

        Raises:
            StoreError: if they cannot be written.
        """
        cards = [self.card, *([self.checked] if self.checked else [])]
        rows = [vars(row) | {"method": row.arm.partition(" / ")[0]} for row in self.rows]
        page = advice_page.document(cards, rows, self.metric, self.winner, self.saved)
        try:
            put(folder / "advice.json", json.dumps(self.content, indent=1) + "\n")
            advice_page.write(page, folder)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror}") from None
        return folder / "advice.html"

    def __repr__(self) -> str:
        last = ""
        if self.checked:
            last = card_text.text(self.checked, "CHECK")
        elif self.winner:
            last = "The test rows stay sealed: the time ended before all final runs had.\n"
        return card_text.text(self.card) + last

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"
