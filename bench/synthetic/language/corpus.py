"""Text of the built-in grammar for pretraining: neighbours, pairs and stories.

All of it comes from the `pretrain` room of `bench.synthetic.generators`, so it contains no text of
any task, and its random streams have other names than those of the tasks. Tasks and corpus share
the grammar: its words, and the habits of its text (what retellings keep, that opinions joined by
`and` agree, how a record is written, and that a retelling of it may follow). No label of a task is
used. Models and objectives are in `bench.synthetic.pretraining_models`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from gapbench.bench.synthetic.generators import room
from gapbench.bench.synthetic.language.grammar import Action, Sentence, valence, write
from gapbench.bench.synthetic.language.lexicon import STOP, vocabulary
from gapbench.bench.synthetic.language.records import write_record
from gapbench.bench.synthetic.language.rewriting import alter, entails, reword, shorten
from gapbench.bench.synthetic.language.sampling import (
    Draws,
    draw_action,
    draw_opinion,
    draw_sentence,
)

STORY_SENTENCES = 4
RECORD_SENTENCES = 2
"""Sentences after a record; a record is about as long as two sentences."""

RECORD_SHARE = 0.4
"""Share of stories that begin with the record of an action."""

_VOCABULARY = vocabulary()

T = TypeVar("T")


class Corpus(Generic[T]):
    """A fixed number of items, drawn when first needed and then repeated in the same order.

    Attributes:
        size: Number of distinct draws; item `size` is item 0 again.
    """

    def __init__(self, draw: Callable[[Draws], T], size: int, *name: str | int) -> None:
        self.size = size
        self._draw = draw
        self._draws = Draws("gapbench pretraining", *name)
        self._items: list[T] = []

    def batch(self, step: int, n: int) -> list[T]:
        """Return the `n` items of a step; step 0 has the first ones."""
        wanted = [(step * n + k) % self.size for k in range(n)]
        while len(self._items) <= max(wanted):
            self._items.append(self._draw(self._draws))
        return [self._items[k] for k in wanted]


def draw_neighbours(draws: Draws) -> tuple[str, str]:
    """Draw any sentence and one that could come next to it in a story."""
    first = _in_room(lambda: draw_sentence(draws) if draws.chance(0.7) else draw_opinion(draws))
    return write(first), write(_in_room(lambda: _next(first, draws)))


def draw_pair(draws: Draws) -> tuple[str, str, bool]:
    """Draw two actions and whether one retells the other, in either order."""
    first = _in_room(lambda: Sentence(draw_action(draws)))
    together = draws.chance(0.5)
    second = _in_room(lambda: _next(first, draws) if together else _break(first, draws))
    pair = (first, second) if draws.chance(0.5) else (second, first)
    return write(pair[0]), write(pair[1]), together


def draw_story(draws: Draws) -> list[str]:
    """Draw a few sentences with consistent habits, so that earlier text predicts later text.

    A steady story retells its action or keeps its mood, a drifting one changes something each time,
    and in a garbled one every sentence has a word replaced or two neighbours swapped. Some begin
    with the record of an action, and the rest retells that or drifts away from it. Half are running
    text: one text instead of several, with a `STOP` between sentences.
    """
    texts = _tell(draws)
    return [f" {STOP} ".join(texts)] if draws.chance(0.5) else texts


def _tell(draws: Draws) -> list[str]:
    follow = _next if draws.chance(0.5) else _break
    if draws.chance(RECORD_SHARE):
        record, first = _recorded(draws)
        return [record, *_continue(first, RECORD_SENTENCES, follow, draws)]
    first = _in_room(lambda: _starter(draws))
    texts = [write(first), *_continue(first, STORY_SENTENCES - 1, follow, draws)]
    return [_garble(text, draws) for text in texts] if draws.chance(0.3) else texts


def _continue(
    first: Sentence, n: int, follow: Callable[[Sentence, Draws], Sentence], draws: Draws
) -> list[str]:
    story = [first]
    while len(story) <= n:
        story.append(_in_room(partial(follow, story[-1], draws)))
    return [write(sentence) for sentence in story[1:]]


def _recorded(draws: Draws) -> tuple[str, Sentence]:
    while True:
        action = draw_action(draws)
        record, told = write_record(action), Sentence(action)
        if room(record) == room(write(told)) == "pretrain":
            return record, told


def _garble(text: str, draws: Draws) -> str:
    while True:
        words = text.split(" ")
        at = draws.below(len(words) - 1)
        if draws.chance(0.5):
            words[at], words[at + 1] = words[at + 1], words[at]
        else:
            words[at] = draws.pick(_VOCABULARY)
        if room(" ".join(words)) == "pretrain":
            return " ".join(words)


def _in_room(propose: Callable[[], Sentence]) -> Sentence:
    while True:
        sentence = propose()
        if room(write(sentence)) == "pretrain":
            return sentence


def _starter(draws: Draws) -> Sentence:
    """Draw a sentence that can be continued: an action, or an opinion with a mood."""
    while True:
        sentence = draw_sentence(draws) if draws.chance(0.7) else draw_opinion(draws)
        if _is_action(sentence) or valence(sentence) != 0.0:
            return sentence


def _is_action(sentence: Sentence) -> bool:
    return isinstance(sentence.first, Action) and sentence.second is None


def _next(before: Sentence, draws: Draws) -> Sentence:
    """Retell an action in other words and less detail, or stay in the mood of an opinion."""
    if isinstance(before.first, Action) and before.second is None:
        return Sentence(_retell(before.first, draws))
    mood = valence(before)
    return _opinion(draws, kind=mood > 0) if mood else draw_sentence(draws)


def _break(before: Sentence, draws: Draws) -> Sentence:
    """Draw a break: mostly the same action with one thing changed, or the opposite mood."""
    if not isinstance(before.first, Action) or before.second is not None:
        return _opinion(draws, kind=valence(before) <= 0)
    if draws.chance(0.1):
        return Sentence(draw_action(draws))
    while True:
        changed = alter(_retell(before.first, draws), draws)
        if not entails(before.first, changed):
            return Sentence(changed)


def _retell(action: Action, draws: Draws) -> Action:
    return shorten(reword(action, draws, share=0.6), draws, share=0.25)


def _opinion(draws: Draws, *, kind: bool) -> Sentence:
    while True:
        sentence = draw_opinion(draws)
        if valence(sentence) != 0.0 and (valence(sentence) > 0) == kind:
            return sentence
