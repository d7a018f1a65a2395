"""Answers about results as small objects, with tables and a notebook view."""

from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from gapbench.reports.document.model import Card
from gapbench.reports.prose.card import about, card, headline
from gapbench.reports.prose.comparison_text import content, format_comparison
from gapbench.reports.render import card_text
from gapbench.reports.verdict.compare import Compared
from gapbench.reports.verdict.model import Verdict as Found


@dataclass(frozen=True, repr=False)
class Verdict:
    """The answer, as a card for each suite of several tasks and each other task.

    Attributes:
        found: the facts: of suites of several tasks, each with its `tasks`, then of other tasks.
    """

    found: tuple[Found, ...]

    def __getitem__(self, task: str) -> Found:
        """Return the facts on a task, or on all tasks of a suite, by its name.

        Raises:
            KeyError: if there is none of this name, or there are several.
        """
        every = [one for each in self.found for one in each.everything]
        found = [one for one in every if task == (one.task or one.suite)]
        if len(found) != 1:
            raise KeyError(f"{task!r} names {len(found)} of {[about(one) for one in every]}")
        return found[0]

    @property
    def headlines(self) -> dict[str, str]:
        """What to use, by what it is about: first all tasks of a suite, then each task."""
        every = [one for each in self.found for one in each.everything]
        return {about(one): headline(one) for one in every}

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
        return pd.DataFrame(self.content["tasks"]).drop(columns="outcomes")

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
