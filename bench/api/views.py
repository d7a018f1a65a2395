"""Answers about results as small objects, with tables and a notebook view."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from gapbench.reports.claims.judge import JudgedClaim
from gapbench.reports.document.model import Card
from gapbench.reports.prose import claims_text, gate_text
from gapbench.reports.prose.card import about, card
from gapbench.reports.prose.comparison_text import content, format_comparison
from gapbench.reports.render import card_text
from gapbench.reports.verdict.compare import Compared
from gapbench.reports.verdict.gate import Gated
from gapbench.reports.verdict.model import Verdict


@dataclass(frozen=True, repr=False)
class Verdicts:
    """The answer, as a card for each suite of several tasks and each other task.

    Attributes:
        found: the facts: of suites of several tasks, each with its `tasks`, then of other tasks.
    """

    found: tuple[Verdict, ...]

    def __getitem__(self, task: str) -> Verdict:
        """Return the facts on a task, or on all tasks of a suite, by its name.

        Raises:
            KeyError: if there is none of this name, or there are several.
        """
        every = [one for each in self.found for one in each.everything]
        found = [one for one in every if task == (one.task or one.suite)]
        if len(found) != 1:
            raise KeyError(f"{task!r} names {len(found)} of {[about(one) for one in every]}")
        return found[0]

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return "".join(map(card_text.text, self.cards)) or "There is no readable run."

    def _repr_html_(self) -> str:
        return "".join(f"<pre>{escape(card_text.text(each))}</pre>" for each in self.cards)

    @property
    def cards(self) -> list[Card]:
        """One card for each of `found`."""
        return list(map(card, self.found))


@dataclass(frozen=True, repr=False)
class Comparison:
    """How two methods differ, task by task.

    Attributes:
        found: the differences and their statistics.
    """

    found: Compared

    @property
    def content(self) -> dict[str, Any]:
        """All numbers and sentences as plain data; missing ones are None."""
        return content(self.found)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each task: both means, their difference with its interval, and the claim."""
        return pd.DataFrame(self.content["tasks"]).drop(columns=["outcomes", "second_tests"])

    @property
    def conclusion(self) -> str:
        """Number of tasks on which each of the two is better."""
        return str(self.content["conclusion"])

    def __repr__(self) -> str:
        return format_comparison(self.found)

    def _repr_html_(self) -> str:
        shown = [
            "task",
            "backbone",
            "seeds",
            "items",
            "first",
            "second",
            "difference",
            "low",
            "high",
        ]
        table = self.table[[*shown, "claim", "withheld"]].rename(
            columns={"first": self.found.first, "second": self.found.second}
        )
        html = table.to_html(index=False, float_format="{:.3f}".format, na_rep="")
        return f"{html}<p>{escape(self.conclusion)}</p>"


@dataclass(frozen=True, repr=False)
class Claims:
    """What a results folder says of claims that papers make.

    Attributes:
        found: each claim with what is said of it.
    """

    found: tuple[JudgedClaim, ...]

    def __getitem__(self, claim: str) -> JudgedClaim:
        """Return what is said of a claim, by its id.

        Raises:
            KeyError: if there is none.
        """
        for each in self.found:
            if each.claim.id == claim:
                return each
        raise KeyError(claim)

    @property
    def content(self) -> list[dict[str, Any]]:
        """All of it as plain data; what does not exist is None."""
        return [claims_text.content(each) for each in self.found]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each claim: what is said of it, and by what difference."""
        shown = ["id", "ruling", "difference", "low", "high", "seeds", "published", "text"]
        return pd.DataFrame(self.content)[shown]

    def __repr__(self) -> str:
        return claims_text.format_claims(self.found)

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, float_format="{:.3f}".format, na_rep="")
        return f"{table}<p>{escape(claims_text.summary(self.found))}</p>"


@dataclass(frozen=True, repr=False)
class Gate:
    """Runs before and after a change of code or libraries.

    Attributes:
        found: what differs, and whether that is more than chance.
    """

    found: Gated

    @property
    def passed(self) -> bool:
        """Whether no method moved beyond chance and no run was lost."""
        return self.found.passed

    @property
    def content(self) -> dict[str, Any]:
        """All of it as plain data; what does not exist is None."""
        return gate_text.content(self.found)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each row of results and outcome that differs."""
        return pd.DataFrame(self.content["changes"])

    def __repr__(self) -> str:
        return gate_text.format_gate(self.found)

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, float_format="{:.4f}".format, na_rep="")
        lost = "".join(f"<li>lost: {escape(each)}</li>" for each in self.found.lost)
        said = escape(gate_text.conclusion(self.found))
        listed = f"<ul>{lost}</ul>" if lost else ""
        return f"{table if self.found.changes else ''}{listed}<p>{said}</p>"
