"""The words of the built-in grammar: forms, categories, synonyms, opinions and selection.

This file holds tables of words, and tables derived from them. `bench.synthetic.language.grammar`
makes sentences of words. A table entry `doctor=physician` names two words of one meaning.
Every written form belongs to one word and one part of speech, which keeps the grammar unambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass

VOWELS = "aeiou"

_NOUNS = {
    "person": "doctor=physician teacher=instructor lawyer=attorney singer=vocalist student=pupil "
    "farmer nurse painter sailor baker",
    "animal": "dog=hound rabbit=bunny pig=hog cat horse goat cow monkey bear",
    "vehicle": "car=automobile truck=lorry bicycle=bike wagon=cart boat",
    "snack": "cookie=biscuit candy=sweet cake apple sandwich carrot pancake",
    "object": "lamp=lantern box=crate rug=carpet hammer chair camera guitar",
}
"""Nouns by category; the name of a category is itself a noun, more general than the others."""

_IRREGULAR_PLURALS = {"person": "people"}

_CATEGORY_LETTERS = {"P": "person", "A": "animal", "V": "vehicle", "S": "snack", "O": "object"}

_VERBS = {
    "taste=sample": ("PA", "S"),
    "devour": ("PA", "S"),
    "cook=prepare": ("P", "S"),
    "steer=pilot": ("P", "V"),
    "crash=wreck": ("P", "V"),
    "repair=mend": ("P", "VO"),
    "clean=wash": ("P", "VO"),
    "chase=pursue": ("PA", "PA"),
    "visit": ("P", "P"),
    "greet=welcome": ("P", "P"),
    "follow=trail": ("PA", "PAV"),
    "watch=observe": ("PA", "PAVSO"),
    "avoid": ("PA", "PAVSO"),
    "carry=haul": ("P", "ASO"),
    "own=possess": ("P", "AVO"),
    "push=shove": ("PA", "VO"),
    "rest=relax": ("PA", ""),
    "jump=leap": ("PA", ""),
    "wander=roam": ("PA", ""),
    "shout=yell": ("P", ""),
    "dance": ("P", ""),
    "growl": ("A", ""),
    "arrive": ("PAV", ""),
    "rattle": ("VO", ""),
}
"""Verbs with the categories of their subject and of their object (none: intransitive)."""

_PLAIN_ADJECTIVES = (
    "big=large small=little quiet=silent thin=slim old young red green blue black white wet"
)

OPINIONS = {
    "wonderful": 2.0,
    "superb": 2.0,
    "excellent": 2.0,
    "lovely": 1.5,
    "charming": 1.5,
    "great": 1.5,
    "good": 1.0,
    "nice": 1.0,
    "pleasant": 1.0,
    "decent": 0.5,
    "terrible": -2.0,
    "awful": -2.0,
    "horrible": -2.0,
    "nasty": -1.5,
    "dreadful": -1.5,
    "disappointing": -1.5,
    "bad": -1.0,
    "poor": -1.0,
    "dull": -1.0,
    "mediocre": -0.5,
}
"""Valence of each opinion adjective, in [-2, 2]."""

DEGREES = {"extremely": 2.0, "very": 1.5, "rather": 0.75, "slightly": 0.5}
"""Factor by which a degree word scales the valence of the adjective after it."""

DETERMINERS = {
    False: ("the", "a", "this", "that", "one"),
    True: ("the", "some", "these", "those", "two"),
}
"""Determiners of a singular (False) and of a plural (True) noun phrase."""

ADVERBS = ("slowly", "carefully", "loudly", "quickly", "rapidly", "quietly", "silently")
PREPOSITIONS = ("in", "near", "behind", "beside")
PLACES = ("park", "garden", "kitchen", "market", "river", "school", "station", "harbor", "port")
CONJUNCTIONS = ("and", "but")

STOP = "."
"""Separator between the sentences of a running text; not a word of the grammar."""

BE = {(False, False): "is", (True, False): "are", (False, True): "was", (True, True): "were"}
"""Form of the copula by (plural, past)."""

DO = {(False, False): "does", (True, False): "do", (False, True): "did", (True, True): "did"}
"""Form of the auxiliary before `not` by (plural, past)."""

_MODIFIER_SYNONYMS = "quickly=rapidly quietly=silently harbor=port superb=excellent nice=pleasant"


@dataclass(frozen=True)
class Verb:
    """One verb: its forms, and the noun categories it selects.

    Attributes:
        base: The plural present, also used after an auxiliary.
        third: The singular present.
        past: The past of either number.
        subjects: Categories that its subject may have.
        objects: Categories that its object may have; empty if it takes none.
    """

    base: str
    third: str
    past: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...]


def _with_s(word: str) -> str:
    if word[-1] == "y" and word[-2] not in VOWELS:
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def _with_ed(word: str) -> str:
    if word[-1] == "y" and word[-2] not in VOWELS:
        return f"{word[:-1]}ied"
    return f"{word}d" if word[-1] == "e" else f"{word}ed"


def _verb(base: str, subjects: str, objects: str) -> Verb:
    return Verb(
        base,
        _with_s(base),
        _with_ed(base),
        tuple(_CATEGORY_LETTERS[letter] for letter in subjects),
        tuple(_CATEGORY_LETTERS[letter] for letter in objects),
    )


def _groups(table: str) -> list[list[str]]:
    return [group.split("=") for group in table.split()]


CATEGORIES = {
    category: tuple(word for group in _groups(table) for word in group)
    for category, table in _NOUNS.items()
}
"""Specific nouns of each category, without the category's own name."""

NOUNS = {noun: category for category, nouns in CATEGORIES.items() for noun in (*nouns, category)}
"""Category of every singular noun; a category's name belongs to itself."""

PLURALS = {noun: _IRREGULAR_PLURALS.get(noun, _with_s(noun)) for noun in NOUNS}
"""Plural form of every noun."""

VERBS = {base: _verb(base, *frame) for group, frame in _VERBS.items() for base in group.split("=")}
"""Every verb by its base form."""

PLAIN_ADJECTIVES = tuple(word for group in _groups(_PLAIN_ADJECTIVES) for word in group)
ADJECTIVES = (*PLAIN_ADJECTIVES, *OPINIONS)

SYNONYMS: dict[str, tuple[str, ...]] = {
    word: tuple(group)
    for table in (*_NOUNS.values(), " ".join(_VERBS), _PLAIN_ADJECTIVES, _MODIFIER_SYNONYMS)
    for group in _groups(table)
    if len(group) > 1
    for word in group
}
"""Words with the same meaning, for each word that has synonyms, including itself."""


def meaning(word: str) -> str:
    """Return the word that represents all synonyms of `word` (the first of its group)."""
    return SYNONYMS.get(word, (word,))[0]


def other_forms() -> dict[str, tuple[str, ...]]:
    """Return, for each inflected form, the other forms of the same word."""
    families: list[tuple[str, ...]] = list(PLURALS.items())
    families += [(verb.base, verb.third, verb.past) for verb in VERBS.values()]
    families += [tuple(BE.values()), ("does", "do", "did")]
    families += [("a", "an", "these"), ("this", "those"), ("that", "these"), ("one", "two")]
    forms: dict[str, tuple[str, ...]] = {}
    for family in families:
        for form in family:
            others = tuple(other for other in family if other != form)
            forms[form] = tuple(dict.fromkeys((*forms.get(form, ()), *others)))
    return forms


def vocabulary() -> tuple[str, ...]:
    """Return every written form of the grammar, sorted, without tokenizer specials."""
    words = {*NOUNS, *PLURALS.values(), *ADJECTIVES, *DEGREES, *ADVERBS, *PREPOSITIONS, *PLACES}
    words |= {form for verb in VERBS.values() for form in (verb.base, verb.third, verb.past)}
    words |= {*DETERMINERS[False], *DETERMINERS[True], *BE.values(), *DO.values()}
    return tuple(sorted(words | {"an", "not", *CONJUNCTIONS}))
