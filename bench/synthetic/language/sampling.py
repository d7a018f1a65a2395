"""Random sentences of the built-in grammar, from random streams that are the same everywhere.

Sentences are defined in `bench.synthetic.language.grammar`; pairs of sentences are made in
`bench.synthetic.language.rewriting`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.synthetic.language.grammar import (
    Action,
    Description,
    NounPhrase,
    Sentence,
    valence,
    write,
)
from gapbench.bench.synthetic.language.lexicon import (
    ADVERBS,
    CATEGORIES,
    CONJUNCTIONS,
    DEGREES,
    DETERMINERS,
    OPINIONS,
    PLACES,
    PLAIN_ADJECTIVES,
    PREPOSITIONS,
    VERBS,
)

MAX_WORDS = 16
"""Length of the longest sentence, in words."""

COHERENCE = 0.9
"""Share of joined opinions that agree after `and` and disagree after `but`."""

T = TypeVar("T")


class Draws:
    """A stream of random draws that depends only on its named parts.

    All draws use `Generator.random`, which passes on the generator's bits. Numpy's other methods
    may change between versions.
    """

    def __init__(self, *parts: str | int) -> None:
        digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
        key = int.from_bytes(digest[:16], "little")
        self._generator = np.random.Generator(np.random.Philox(key=key))

    def uniform(self) -> float:
        """Draw from [0, 1)."""
        return float(self._generator.random())

    def chance(self, probability: float) -> bool:
        """Draw True with the given probability."""
        return self.uniform() < probability

    def below(self, n: int) -> int:
        """Draw an integer from 0 to n - 1."""
        return int(self.uniform() * n)

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of the options, each as likely as the others."""
        return options[self.below(len(options))]

    def uniforms(self, *shape: int) -> NDArray[np.float64]:
        """Draw an array from [0, 1)."""
        return self._generator.random(shape)

    def normal(self) -> float:
        """Draw from the standard normal distribution."""
        return NormalDist().inv_cdf((self.below(2**32) + 0.5) / 2**32)


def draw_sentence(draws: Draws) -> Sentence:
    """Draw any kind of sentence of at most `MAX_WORDS` words."""
    while True:
        kind = draws.uniform()
        if kind < 0.5:
            sentence = Sentence(draw_action(draws))
        elif kind < 0.8:
            sentence = draw_opinion(draws)
        else:
            first = draw_action(draws, detail=0.2) if draws.chance(0.5) else _description(draws)
            sentence = Sentence(first, draws.pick(CONJUNCTIONS), _description(draws))
        if len(write(sentence).split(" ")) <= MAX_WORDS:
            return sentence


def draw_opinion(draws: Draws) -> Sentence:
    """Draw a sentence with an opinion about somebody or something.

    Opinions joined by `and` mostly agree and those joined by `but` mostly disagree, as in real
    text. From this a language model can learn which words are positive without labels.
    """
    if draws.chance(0.4):
        return Sentence(_description(draws, tuple(OPINIONS)))
    conjunction = draws.pick(CONJUNCTIONS)
    agree = draws.chance(COHERENCE) == (conjunction == "and")
    while True:
        first, second = (_description(draws, tuple(OPINIONS)) for _ in range(2))
        if (valence(Sentence(first)) * valence(Sentence(second)) > 0) == agree:
            return Sentence(first, conjunction, second)


def draw_action(draws: Draws, detail: float = 0.5) -> Action:
    """Draw a clause about an action.

    Args:
        draws: The stream of random draws.
        detail: Probability of each adjective, adverb and place, in [0, 1].
    """
    verb = VERBS[draws.pick(tuple(VERBS))]
    placed = draws.chance(detail)
    return Action(
        subject=draw_noun_phrase(draws, verb.subjects, detail),
        verb=verb.base,
        past=draws.chance(0.5),
        negated=draws.chance(0.15),
        object=draw_noun_phrase(draws, verb.objects, detail) if verb.objects else None,
        adverb=draws.pick(ADVERBS) if draws.chance(detail) else None,
        preposition=draws.pick(PREPOSITIONS) if placed else None,
        place=draws.pick(PLACES) if placed else None,
    )


def draw_noun_phrase(draws: Draws, categories: Sequence[str], detail: float) -> NounPhrase:
    """Draw a noun phrase of one of the categories, with an adjective at probability `detail`."""
    category = draws.pick(categories)
    noun = category if draws.chance(0.1) else draws.pick(CATEGORIES[category])
    plural = draws.chance(0.4)
    adjective = draw_adjective(draws) if draws.chance(detail) else None
    return NounPhrase(draws.pick(DETERMINERS[plural]), adjective, noun, plural)


def draw_adjective(draws: Draws) -> str:
    """Draw a plain adjective, or occasionally an opinion."""
    return draws.pick(tuple(OPINIONS) if draws.chance(0.2) else PLAIN_ADJECTIVES)


def _description(draws: Draws, adjectives: Sequence[str] = ()) -> Description:
    return Description(
        subject=draw_noun_phrase(draws, tuple(CATEGORIES), detail=0.2),
        past=draws.chance(0.5),
        negated=draws.chance(0.12),
        degree=draws.pick(tuple(DEGREES)) if draws.chance(0.4) else None,
        adjective=draws.pick(adjectives) if adjectives else draw_adjective(draws),
    )
