"""Rewrites of an action, and their effect on meaning: entailment and similarity.

Each rewrite keeps the sentence inside the grammar. `bench.synthetic.generators` decides which
rewrite gives which label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gapbench.bench.synthetic.language.grammar import Action, NounPhrase
from gapbench.bench.synthetic.language.lexicon import (
    ADVERBS,
    CATEGORIES,
    PLACES,
    PREPOSITIONS,
    SYNONYMS,
    VERBS,
    meaning,
)
from gapbench.bench.synthetic.language.sampling import Draws, draw_adjective

# Meaning


def entails(premise: Action, hypothesis: Action) -> bool:
    """Whether the premise entails the hypothesis.

    An affirmed action entails the same action with fewer details, more general nouns and synonyms
    (determiners of this grammar say that something exists, so nouns may only widen). A denied
    action entails only itself in other words.
    """
    if premise.negated or hypothesis.negated:
        return meanings(premise) == meanings(hypothesis)
    return (
        meaning(premise.verb) == meaning(hypothesis.verb)
        and premise.past == hypothesis.past
        and _covers(hypothesis.subject, premise.subject)
        and _covers(hypothesis.object, premise.object)
        and _absent_or_same(hypothesis.adverb, premise.adverb)
        and _absent_or_same(hypothesis.preposition, premise.preposition)
        and _absent_or_same(hypothesis.place, premise.place)
    )


def _covers(general: NounPhrase | None, specific: NounPhrase | None) -> bool:
    if general is None or specific is None:
        return general is specific
    return (
        general.determiner == specific.determiner
        and general.plural == specific.plural
        and general.noun in (*SYNONYMS.get(specific.noun, (specific.noun,)), specific.category)
        and _absent_or_same(general.adjective, specific.adjective)
    )


def _absent_or_same(general: str | None, specific: str | None) -> bool:
    return general is None or meaning(general) == meaning(specific or "")


def meanings(action: Action) -> Action:
    """Return the action with every word replaced by the first of its synonyms."""
    return _each_word(action, meaning)


def similarity(first: Action, second: Action) -> float:
    """Return the share of meaning that two actions have in common, in [0, 1].

    A weighted mean over the slots that at least one of them fills: verb and nouns weigh 2, other
    slots 1. A slot counts 1 for the same word or a synonym, 0.5 for nouns of one category, else 0.
    Denying exactly one of them costs a third of the sum.
    """
    verbs = 2.0 * (meaning(first.verb) == meaning(second.verb))
    earned, possible = verbs, 2.0
    for mine, other in ((first.subject, second.subject), (first.object, second.object)):
        if mine or other:
            earned, possible = earned + 2.0 * _noun_overlap(mine, other), possible + 2.0
    adjectives = [
        (mine and mine.adjective, other and other.adjective)
        for mine, other in ((first.subject, second.subject), (first.object, second.object))
    ]
    details = [*adjectives, (first.adverb, second.adverb), (first.place, second.place)]
    for detail, counterpart in details:
        if detail or counterpart:
            earned += meaning(detail or "") == meaning(counterpart or "")
            possible += 1.0
    return earned / possible * (2.0 / 3.0 if first.negated != second.negated else 1.0)


def _noun_overlap(first: NounPhrase | None, second: NounPhrase | None) -> float:
    if first is None or second is None:
        return 0.0
    if meaning(first.noun) == meaning(second.noun):
        return 1.0
    return 0.5 if first.category == second.category else 0.0


def _each_word(action: Action, change: Callable[[str], str]) -> Action:
    def phrase(old: NounPhrase) -> NounPhrase:
        return replace(old, adjective=word(old.adjective), noun=change(old.noun))

    def word(old: str | None) -> str | None:
        return change(old) if old else None

    return replace(
        action,
        subject=phrase(action.subject),
        verb=change(action.verb),
        object=phrase(action.object) if action.object else None,
        adverb=word(action.adverb),
        place=word(action.place),
    )


# Rewrites that keep the meaning or part of it


def reword(action: Action, draws: Draws, share: float = 0.4) -> Action:
    """Replace each word that has synonyms by one of them at probability `share`."""

    def change(word: str) -> str:
        others = tuple(other for other in SYNONYMS.get(word, ()) if other != word)
        return draws.pick(others) if others and draws.chance(share) else word

    return _each_word(action, change)


def shorten(action: Action, draws: Draws, share: float = 0.4) -> Action:
    """Drop each adjective, the adverb and the place at probability `share` each."""

    def phrase(old: NounPhrase) -> NounPhrase:
        return replace(old, adjective=None) if draws.chance(share) else old

    subject, target = phrase(action.subject), action.object and phrase(action.object)
    if draws.chance(share):
        action = replace(action, preposition=None, place=None)
    adverb = None if draws.chance(share) else action.adverb
    return replace(action, subject=subject, object=target, adverb=adverb)


def generalise(action: Action, draws: Draws, share: float = 0.4) -> Action:
    """Replace each noun by the name of its category at probability `share`."""

    def phrase(old: NounPhrase) -> NounPhrase:
        return replace(old, noun=old.category) if draws.chance(share) else old

    return replace(
        action, subject=phrase(action.subject), object=action.object and phrase(action.object)
    )


# Rewrites that change the meaning


def alter(action: Action, draws: Draws) -> Action:
    """Change one thing about the action, and thereby its meaning."""
    change = draws.pick(
        (_other_subject, _other_object, _other_verb, _swap, _deny, _other_detail, _other_detail)
    )
    altered = change(action, draws)
    return alter(action, draws) if meanings(altered) == meanings(action) else altered


def _other_noun(phrase: NounPhrase, draws: Draws) -> NounPhrase:
    return replace(phrase, noun=draws.pick(CATEGORIES[phrase.category]))


def _other_adjective(phrase: NounPhrase, draws: Draws) -> NounPhrase:
    return replace(phrase, adjective=draw_adjective(draws))


def _other_subject(action: Action, draws: Draws) -> Action:
    return replace(action, subject=_other_noun(action.subject, draws))


def _other_object(action: Action, draws: Draws) -> Action:
    return replace(action, object=action.object and _other_noun(action.object, draws))


def _other_verb(action: Action, draws: Draws) -> Action:
    old = VERBS[action.verb]
    category = action.object and action.object.category
    fitting = [
        verb.base
        for verb in VERBS.values()
        if action.subject.category in verb.subjects
        and (category in verb.objects if category else not verb.objects)
    ]
    return replace(action, verb=draws.pick(fitting or [old.base]))


def _swap(action: Action, draws: Draws) -> Action:
    del draws
    verb, target = VERBS[action.verb], action.object
    fits = target and target.category in verb.subjects and action.subject.category in verb.objects
    return replace(action, subject=target, object=action.subject) if target and fits else action


def _deny(action: Action, draws: Draws) -> Action:
    del draws
    return replace(action, negated=not action.negated)


def _other_detail(action: Action, draws: Draws) -> Action:
    where = draws.pick(("subject", "object", "adverb", "place"))
    if where == "adverb":
        return replace(action, adverb=draws.pick(ADVERBS))
    if where == "place":
        return replace(
            action,
            preposition=action.preposition or draws.pick(PREPOSITIONS),
            place=draws.pick(PLACES),
        )
    if where == "object":
        return replace(action, object=action.object and _other_adjective(action.object, draws))
    return replace(action, subject=_other_adjective(action.subject, draws))
