"""The generated task of writing a record as a sentence, with several references per input.

Records, and the check of whether a text matches one, are in `bench.synthetic.language.records`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapbench.bench.synthetic.generators.splits import Split, SyntheticSplit, draw_distinct, room
from gapbench.bench.synthetic.language.grammar import Sentence, write
from gapbench.bench.synthetic.language.lexicon import STOP
from gapbench.bench.synthetic.language.records import write_record
from gapbench.bench.synthetic.language.rewriting import meanings, reword
from gapbench.bench.synthetic.language.sampling import Draws, draw_action

MOST_REFERENCES = 5
_TRIES = 40
"""Rewordings drawn to find references; a quarter of all are in the split's room."""


@dataclass(frozen=True)
class Data2TextTask:
    """Write an action's record as a sentence; column `record`, lists `references` (2 to 5).

    References are distinct rewordings, and each states the whole record and nothing else. The room
    of a record is that of its meaning, so no two splits share a meaning.
    """

    columns: tuple[str, ...] = ("record",)
    labels: tuple[str, ...] = ()

    def build(self, split: Split, n: int, inputs: Draws, labels: Draws) -> SyntheticSplit:
        """Make the first `n` examples of a split; no labels are drawn."""
        del labels
        drawn = draw_distinct(n, lambda: _propose(split, inputs))
        return SyntheticSplit(
            {"record": list(drawn)},
            np.empty(0, dtype=np.int64),
            lists={"references": list(drawn.values())},
        )


def _propose(split: Split, draws: Draws) -> tuple[str, list[str]] | None:
    """Draw a record and its references, or None if fewer than two are in the split's room."""
    action = meanings(draw_action(draws))
    record = write_record(action)
    if room(record) != split:
        return None
    wanted = 2 + draws.below(MOST_REFERENCES - 1)
    references: list[str] = []
    for _ in range(_TRIES):
        text = write(Sentence(reword(action, draws, share=0.5)))
        if room(text) == split and text not in references and len(references) < wanted:
            references.append(text)
    return (f"{record} {STOP}", references) if len(references) >= 2 else None
