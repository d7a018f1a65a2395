"""An action as a record: pairs of slot and value in words, and whether a text matches them.

The record of `the hound did not chase two old cats near the port` is
`what : not chase | when : past | who : the dog | whom : two old cats | where : near harbor`. It
represents every sentence with the same meaning: every word is the first of its synonyms, the verb
is in its base form, and empty slots are left out. Writing it as a sentence takes word order, tense,
agreement and `an`. `bench.synthetic.generators.data2text` chooses the records of the task.
"""

from __future__ import annotations

from gapbench.bench.synthetic.language.grammar import Action, NounPhrase, read
from gapbench.bench.synthetic.language.lexicon import PLURALS, STOP
from gapbench.bench.synthetic.language.rewriting import meanings

PAIR, SEPARATOR = ":", "|"
"""Separators between a slot and its value, and between two slots."""

SLOTS = ("what", "when", "who", "whom", "how", "where")
TENSES = {False: "present", True: "past"}
"""Value of `when` by whether the action is past."""

RECORD_WORDS = (PAIR, SEPARATOR, *SLOTS, *TENSES.values())
"""Words of records that no sentence of the grammar has."""


def write_record(action: Action) -> str:
    """Return the slots and values of an action, in the order of `SLOTS`."""
    values = _values(action)
    filled = (f"{slot} {PAIR} {values[slot]}" for slot in SLOTS if values[slot])
    return f" {SEPARATOR} ".join(filled)


def _values(action: Action) -> dict[str, str]:
    plain = meanings(action)
    place = f"{plain.preposition} {plain.place}" if plain.preposition and plain.place else ""
    values = (
        f"not {plain.verb}" if plain.negated else plain.verb,
        TENSES[plain.past],
        _phrase(plain.subject),
        _phrase(plain.object) if plain.object else "",
        plain.adverb or "",
        place,
    )
    return dict(zip(SLOTS, values, strict=True))


def _phrase(phrase: NounPhrase) -> str:
    noun = PLURALS[phrase.noun] if phrase.plural else phrase.noun
    return " ".join(word for word in (phrase.determiner, phrase.adjective, noun) if word)


def slot_accuracy(text: str, record: str) -> float:
    """Return the share of slots in which a text agrees with the record, in [0, 1].

    Slots that are empty in both do not count. A text that is not a single action of the grammar
    has no slots.

    Args:
        text: Words separated by single spaces.
        record: A result of `write_record`, perhaps followed by `STOP`.
    """
    told = _told(text)
    if told is None:
        return 0.0
    pairs = record.removesuffix(f" {STOP}").split(f" {SEPARATOR} ")
    wanted = dict(pair.split(f" {PAIR} ") for pair in pairs)
    right = [told[slot] == wanted.get(slot, "") for slot in SLOTS if told[slot] or slot in wanted]
    return sum(right) / len(right)


def says_record(text: str, record: str) -> bool:
    """Whether a text is a sentence of the grammar with exactly the meaning of the record."""
    return slot_accuracy(text, record) == 1.0


def _told(text: str) -> dict[str, str] | None:
    sentence = read(text)
    if sentence is None or sentence.second or not isinstance(sentence.first, Action):
        return None
    return _values(sentence.first)
