"""The built-in grammar: sentences as structures, written out as words and read back.

`write` and `read` are inverses, so `read` decides exactly which word strings belong to the
grammar. Words are in `bench.synthetic.language.lexicon`, random sentences in
`bench.synthetic.language.sampling`.

    sentence    = clause [("and" | "but") clause]
    clause      = noun_phrase (action | description)
    action      = (verb | do "not" verb) [noun_phrase] [adverb] [preposition "the" place]
    description = be ["not"] [degree] adjective
    noun_phrase = determiner [adjective] noun

Number agrees, a verb's subject and object come from the categories it selects, and `a` before a
vowel is `an`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gapbench.bench.synthetic.language.lexicon import (
    ADJECTIVES,
    ADVERBS,
    BE,
    CONJUNCTIONS,
    DEGREES,
    DETERMINERS,
    DO,
    NOUNS,
    OPINIONS,
    PLACES,
    PLURALS,
    PREPOSITIONS,
    VERBS,
    VOWELS,
    Verb,
)

NOT_FACTOR = -0.75
"""Factor by which `not` changes the valence of a description."""


@dataclass(frozen=True)
class NounPhrase:
    """A determiner, an optional adjective, and a noun in the singular."""

    determiner: str
    adjective: str | None
    noun: str
    plural: bool

    @property
    def category(self) -> str:
        """The category of the noun, such as `animal`."""
        return NOUNS[self.noun]


@dataclass(frozen=True)
class Action:
    """A clause about an event; the verb is in its base form."""

    subject: NounPhrase
    verb: str
    past: bool
    negated: bool
    object: NounPhrase | None
    adverb: str | None
    preposition: str | None
    place: str | None


@dataclass(frozen=True)
class Description:
    """A clause that describes something."""

    subject: NounPhrase
    past: bool
    negated: bool
    degree: str | None
    adjective: str


Clause = Action | Description


@dataclass(frozen=True)
class Sentence:
    """One clause, or two joined by a conjunction."""

    first: Clause
    conjunction: str | None = None
    second: Clause | None = None

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """The clauses in order."""
        return (self.first,) if self.second is None else (self.first, self.second)


def valence(sentence: Sentence) -> float:
    """Return the sum of the valences of all opinions, scaled by degree words and negation."""
    return sum(_clause_valence(clause) for clause in sentence.clauses)


def _clause_valence(clause: Clause) -> float:
    phrases = (clause.subject, clause.object) if isinstance(clause, Action) else (clause.subject,)
    total = sum(OPINIONS.get(phrase.adjective or "", 0.0) for phrase in phrases if phrase)
    if isinstance(clause, Description):
        scale = DEGREES.get(clause.degree or "", 1.0) * (NOT_FACTOR if clause.negated else 1.0)
        total += scale * OPINIONS.get(clause.adjective, 0.0)
    return total


# Writing


def write(sentence: Sentence) -> str:
    """Return the words of a sentence, lower case, separated by single spaces."""
    words = _clause_words(sentence.first)
    if sentence.second is not None:
        words += [str(sentence.conjunction), *_clause_words(sentence.second)]
    return " ".join(words)


def _clause_words(clause: Clause) -> list[str]:
    plural, past = clause.subject.plural, clause.past
    words = _phrase_words(clause.subject)
    if isinstance(clause, Description):
        words += [BE[plural, past], "not" if clause.negated else "", clause.degree or ""]
        return [word for word in (*words, clause.adjective) if word]
    words += _verb_words(VERBS[clause.verb], plural=plural, past=past, negated=clause.negated)
    words += _phrase_words(clause.object) if clause.object else []
    words += [clause.adverb] if clause.adverb else []
    words += (
        [clause.preposition, "the", clause.place] if clause.preposition and clause.place else []
    )
    return words


def _verb_words(verb: Verb, *, plural: bool, past: bool, negated: bool) -> list[str]:
    if negated:
        return [DO[plural, past], "not", verb.base]
    return [verb.past if past else verb.base if plural else verb.third]


def _phrase_words(phrase: NounPhrase) -> list[str]:
    noun = PLURALS[phrase.noun] if phrase.plural else phrase.noun
    rest = [phrase.adjective, noun] if phrase.adjective else [noun]
    article_changes = phrase.determiner == "a" and rest[0][0] in VOWELS
    return ["an" if article_changes else phrase.determiner, *rest]


# Reading


class _NotInGrammarError(ValueError):
    """The words read so far do not begin any sentence of the grammar."""


_SINGULARS = {plural: noun for noun, plural in PLURALS.items()}
_FINITE = {
    form: (verb.base, number, past)
    for verb in VERBS.values()
    for form, number, past in (
        (verb.third, False, False),
        (verb.base, True, False),
        (verb.past, None, True),
    )
}
_BE_FORMS = {form: features for features, form in BE.items()}
_DO_FORMS = {"does": (False, False), "do": (True, False), "did": (None, True)}


class _Reader:
    """Reads a sentence left to right; the next word always decides how to continue."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._position = 0

    def peek(self) -> str:
        return self._words[self._position] if self._position < len(self._words) else ""

    def take(self) -> str:
        word = self.peek()
        self._position += 1
        return word

    def take_if(self, allowed: object) -> str | None:
        return self.take() if self.peek() in allowed else None  # type: ignore[operator]

    def sentence(self) -> Sentence:
        first = self.clause()
        conjunction = self.take_if(CONJUNCTIONS)
        second = self.clause() if conjunction else None
        _require(self.peek() == "")
        return Sentence(first, conjunction, second)

    def clause(self) -> Clause:
        subject = self.noun_phrase()
        if self.peek() not in _BE_FORMS:
            return self.action(subject)
        plural, past = _BE_FORMS[self.take()]
        _require(plural == subject.plural)
        negated = self.take_if(("not",)) is not None
        degree = self.take_if(DEGREES)
        adjective = self.take()
        _require(adjective in ADJECTIVES)
        return Description(subject, past, negated, degree, adjective)

    def action(self, subject: NounPhrase) -> Action:
        word = self.take()
        negated = word in _DO_FORMS
        if negated:
            number, past = _DO_FORMS[word]
            _require(self.take() == "not")
            base = self.take()
            _require(base in VERBS)
        else:
            _require(word in _FINITE)
            base, number, past = _FINITE[word]
        verb = VERBS[base]
        _require(number in (None, subject.plural) and subject.category in verb.subjects)
        target = self.noun_phrase() if verb.objects else None
        _require(target is None or target.category in verb.objects)
        adverb = self.take_if(ADVERBS)
        preposition = self.take_if(PREPOSITIONS)
        place = None
        if preposition:
            _require(self.take() == "the")
            place = self.take()
            _require(place in PLACES)
        return Action(subject, base, past, negated, target, adverb, preposition, place)

    def noun_phrase(self) -> NounPhrase:
        article = self.take()
        determiner = "a" if article == "an" else article
        adjective = self.take_if(ADJECTIVES)
        word = self.take()
        _require(word in NOUNS or word in _SINGULARS)
        plural = word in _SINGULARS
        _require(determiner in DETERMINERS[plural])
        phrase = NounPhrase(determiner, adjective, _SINGULARS.get(word, word), plural)
        _require(_phrase_words(phrase)[0] == article)
        return phrase


def _require(condition: bool) -> None:  # noqa: FBT001 - reads as a sentence at every call
    if not condition:
        raise _NotInGrammarError


def read(text: str) -> Sentence | None:
    """Return the structure of a text, or None if it is not a sentence of the grammar."""
    try:
        return _Reader(text.split(" ")).sentence()
    except _NotInGrammarError:
        return None
