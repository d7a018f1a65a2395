"""Sentences changed so that they are certainly outside the grammar."""

from __future__ import annotations

from gapbench.bench.synthetic.language.grammar import read
from gapbench.bench.synthetic.language.lexicon import NOUNS, other_forms
from gapbench.bench.synthetic.language.sampling import MAX_WORDS, Draws

_OTHER_FORMS = other_forms()


def corrupt(text: str, draws: Draws) -> str:
    """Change a sentence a little, so that it is certainly outside the grammar.

    One of: a word in another of its forms (agreement), two neighbours swapped (order), a noun of
    another category (selection), or a word omitted.
    """
    while True:
        words = text.split(" ")
        edit = draws.pick((_inflect, _inflect, _reorder, _reorder, _select, _omit))
        edit(words, draws)
        changed = " ".join(words)
        if len(words) <= MAX_WORDS and read(changed) is None:
            return changed


def _inflect(words: list[str], draws: Draws) -> None:
    at = draws.below(len(words))
    words[at] = draws.pick(_OTHER_FORMS.get(words[at], (words[at],)))


def _reorder(words: list[str], draws: Draws) -> None:
    at = draws.below(len(words) - 1)
    words[at], words[at + 1] = words[at + 1], words[at]


def _select(words: list[str], draws: Draws) -> None:
    at = draws.below(len(words))
    if words[at] in NOUNS:
        words[at] = draws.pick(tuple(NOUNS))


def _omit(words: list[str], draws: Draws) -> None:
    del words[draws.below(len(words))]
