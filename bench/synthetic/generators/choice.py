"""The generated task of choosing, from several sentences, the one that retells the prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.synthetic.generators.splits import Split, SyntheticSplit, draw_distinct, room
from gapbench.bench.synthetic.language.grammar import Action, Sentence, write
from gapbench.bench.synthetic.language.lexicon import STOP
from gapbench.bench.synthetic.language.rewriting import alter, reword, shorten, similarity
from gapbench.bench.synthetic.language.sampling import Draws, draw_action

N_CHOICES = 4
CHOICE_SLOPE = 14.0
"""Log-odds of one choice against another per unit of `similarity` to the prompt, in [0, 1]."""

_TRIES = 30
"""Retellings drawn to find one choice; a quarter of all are in the split's room."""

_Question = tuple[str, tuple[list[str], NDArray[np.float64]]]


@dataclass(frozen=True)
class ChoiceGenerator:
    """Choose the retelling of an action; column `prompt`, lists `choices`, label its index.

    All choices retell the prompt's action in other words and less detail. One changes nothing, the
    others change one, two and three things. The label is drawn by a softmax in similarity, so a
    nearly right choice is sometimes the label.
    """

    columns: tuple[str, ...] = ("prompt",)
    labels: tuple[str, ...] = ()

    def build(self, split: Split, n: int, inputs: Draws, labels: Draws) -> SyntheticSplit:
        """Make the first `n` examples of a split, inputs and labels from separate streams."""
        drawn = draw_distinct(n, lambda: _propose(split, inputs))
        truth = np.array([p for _, p in drawn.values()])
        chosen = [int((p.cumsum()[:-1] <= labels.uniform()).sum()) for p in truth]
        return SyntheticSplit(
            {"prompt": list(drawn)},
            np.array(chosen, dtype=np.int64),
            truth,
            lists={"choices": [choices for choices, _ in drawn.values()]},
        )


def _propose(split: Split, draws: Draws) -> _Question | None:
    """Draw a prompt, its choices in random order and their true probabilities.

    None if prompt or choices are not in the split's room, or the prompt cannot be reworded.
    """
    prompt = draw_action(draws, detail=0.6)
    texts = [write(Sentence(prompt))]
    if room(texts[0]) != split:
        return None
    closeness = []
    for n_changes in sorted(range(N_CHOICES), key=lambda _: draws.uniform()):
        for _ in range(_TRIES):
            choice = _retell(prompt, n_changes, draws)
            text = write(Sentence(choice))
            if room(text) == split and text not in texts:
                texts.append(text)
                closeness.append(similarity(prompt, choice))
                break
        else:
            return None
    weights = np.exp(CHOICE_SLOPE * np.array(closeness))
    return f"{texts[0]} {STOP}", (texts[1:], weights / weights.sum())


def _retell(action: Action, n_changes: int, draws: Draws) -> Action:
    retold = shorten(reword(action, draws), draws, share=0.2)
    for _ in range(n_changes):
        retold = alter(retold, draws)
    return retold
