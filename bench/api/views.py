"""Answers about results as small objects, with tables and a notebook view."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from gapbench.bench.core.errors import printable
from gapbench.reports.prose.comparison_text import content, format_comparison
from gapbench.reports.tables.compare import Compared


@dataclass(frozen=True, repr=False)
class Verdict:
    """The verdict of the report.

    Attributes:
        sentences: sentences by heading, most important first: all tasks of a suite together, if
            there are several, then each task.
    """

    sentences: Mapping[str, Sequence[str]]

    def __getitem__(self, name: str) -> Sequence[str]:
        """Return the sentences on a task by the start of its heading, such as its name."""
        found = [said for about, said in self.sentences.items() if about.startswith(name)]
        if len(found) != 1:
            raise KeyError(f"{name!r} begins {len(found)} of {list(self.sentences)}")
        return found[0]

    def __repr__(self) -> str:
        lines = [
            line
            for about, said in self.sentences.items()
            for line in (about, *(f"  - {each}" for each in said))
        ]
        return "\n".join(map(printable, lines)) or "There is no readable run."

    def _repr_html_(self) -> str:
        return "".join(
            f"<h4>{escape(about)}</h4><ul>"
            + "".join(f"<li>{escape(each)}</li>" for each in said)
            + "</ul>"
            for about, said in self.sentences.items()
        )


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
        """A row for each task: both means, their difference with its interval, and p values."""
        return pd.DataFrame(self.content["tasks"])

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
        table = self.table[[*shown, "corrected", "verdict"]].rename(
            columns={"first": self.found.first, "second": self.found.second}
        )
        html = table.to_html(index=False, float_format="{:.3f}".format, na_rep="")
        return f"{html}<p>{escape(self.conclusion)}</p>"
