"""Answers of stored runs as questions to judges, without a trace of who wrote them.

Which items are asked, which answer of a pair is shown first and the order of the lines follow from
a seed and from the codes of the answers alone (`bench.store.judgements`), so that a later export of
more runs asks the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import RecordError
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data.sources import Sources
from gapbench.bench.store.judgements import pair_id, tested
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.dataset import read_rows
from gapbench.bench.tasks.kinds.target_tokens import WrittenTexts


@dataclass(frozen=True)
class Answer:
    """The text that a run wrote for an item, and its code."""

    code: str
    text: str


Answers = Mapping[int, Answer]
"""The answers of a run on one test, by number of the item's row."""


@dataclass(frozen=True)
class Test:
    """What runs answered on one test.

    Attributes:
        cell: of one of the runs.
        split: name of the test among the splits of their records.
        runs: the answers of each.
        pairs: the answers of two runs that are compared.
    """

    cell: Cell
    split: str
    runs: Sequence[Answers]
    pairs: Sequence[tuple[Answers, Answers]]

    def questions(
        self, sources: Sources, items: int, seed: int, form: str
    ) -> Iterator[dict[str, Any]]:
        """Yield what judges are asked: an answer, or two of them.

        Args:
            sources: places of the rows.
            items: rows to ask about, at most.
            seed: of the choice of items, and of the order in a pair.
            form: "ratings", "pairs", or "both".

        Raises:
            DataError: if the rows cannot be read.
            RecordError: if they are not those that were answered.
        """
        asked = _asked(self.cell, self.split, sources)
        everything = {item for run in self.runs for item in run}
        for item in sorted(everything, key=lambda item: content_hash([seed, item]))[:items]:
            if form != "pairs":
                for answer in (run[item] for run in self.runs if item in run):
                    yield {
                        "id": answer.code,
                        **asked[item],
                        "answer": answer.text,
                        "judge": None,
                        "score": None,
                    }
            if form != "ratings":
                for sides in (p for p in self.pairs if item in p[0] and item in p[1]):
                    first, second = _shown(sides[0][item], sides[1][item], seed)
                    yield {
                        "id": pair_id(first.code, second.code),
                        **asked[item],
                        "answer_a": first.text,
                        "answer_b": second.text,
                        "judge": None,
                        "preference": None,
                    }


def in_order(questions: Iterator[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return each question once, in an order that tells nothing of the runs."""
    found = {each["id"]: each for each in questions}
    return sorted(found.values(), key=lambda each: content_hash([seed, each["id"]]))


def _shown(one: Answer, other: Answer, seed: int) -> tuple[Answer, Answer]:
    """Return two answers in the order in which they are shown, whichever is given first."""
    pair = sorted((one, other), key=lambda each: each.code)
    first = int(content_hash([seed, *(each.code for each in pair)])[:8], 16) % 2
    return pair[first], pair[1 - first]


def _asked(cell: Cell, split: str, sources: Sources) -> dict[int, dict[str, Any]]:
    """Return what is shown with every answer, by number of the item's row."""
    own, name = tested(cell, split)
    kind = kinds.get(own.task.kind)
    assert isinstance(kind, WrittenTexts)  # noqa: S101 - only these have answers
    if sources.data(own.task).digest != own.data.digest:
        raise RecordError(
            f"the rows of task {own.task.name!r} here differ from those that were answered (digest "
            f"{own.data.digest}); give their folder with --data DIR"
        )
    rows = read_rows(own.task, sources)[name]
    texts = zip(kind.questions(rows), rows.columns["references"], strict=True)
    return {
        int(number): {
            "task": own.task.name,
            "item": int(number),
            "prompt": prompt,
            "references": [*references],
        }
        for number, (prompt, references) in zip(rows.numbers, texts, strict=True)
    }
