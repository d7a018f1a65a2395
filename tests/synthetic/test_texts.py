"""Generated tasks whose targets are texts: records with references, prompts with choices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gapbench.bench.synthetic.generators import best_possible
from gapbench.bench.synthetic.generators.choice import CHOICE_SLOPE, N_CHOICES
from gapbench.bench.synthetic.generators.data2text import MOST_REFERENCES
from gapbench.bench.synthetic.language.grammar import Action, NounPhrase, Sentence, read, write
from gapbench.bench.synthetic.language.lexicon import STOP
from gapbench.bench.synthetic.language.records import (
    RECORD_WORDS,
    says_record,
    slot_accuracy,
    write_record,
)
from gapbench.bench.synthetic.language.rewriting import alter, meanings, reword, similarity
from gapbench.bench.synthetic.language.sampling import Draws, draw_action
from tests.support.splits import generate

RECORD = (
    "what : not chase | when : past | who : the dog | whom : two old cats | where : near harbor"
)
"""Record of `the hound did not chase two old cats near the port`, written by hand."""


def action_of(text: str) -> Action:
    """Read a sentence that must be a single action."""
    sentence = read(text)
    assert sentence is not None
    assert sentence.second is None
    assert isinstance(sentence.first, Action)
    return sentence.first


def test_write_record_of_known_action_equals_hand_written_record() -> None:
    """Synonyms become the first of their group, the verb its base, and empty slots are left out."""
    dog = NounPhrase("the", None, "hound", plural=False)
    cats = NounPhrase("two", "old", "cat", plural=True)
    action = Action(dog, "pursue", past=True, negated=True, object=cats, adverb=None,
                    preposition="near", place="port")  # fmt: skip
    assert write_record(action) == RECORD


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("the dog did not chase two old cats near the harbor", 5 / 5),
        ("the hound did not pursue two old cats near the port", 5 / 5),
        ("the dog chased two old cats near the harbor", 4 / 5),
        ("the dogs do not chase two cats near the park", 1 / 5),
        ("the dog did not chase two old cats loudly", 4 / 6),
        ("the dog did not chases two old cats near the harbor", 0.0),
        ("the dog is not old", 0.0),
        ("the dog did not chase two old cats near the harbor and the cat is red", 0.0),
        ("", 0.0),
    ],
)
def test_slot_accuracy_of_text_equals_hand_count(text: str, share: float) -> None:
    """Told slots count once each, one too many is wrong, and a spoilt sentence tells nothing."""
    for record in (RECORD, f"{RECORD} {STOP}"):
        assert slot_accuracy(text, record) == pytest.approx(share)
        assert says_record(text, record) == (share == 1.0)


def test_records_are_equal_where_meanings_are() -> None:
    """Rewordings share a record, altered actions do not, and each sentence says its own record."""
    draws = Draws("test", "records")
    for _ in range(300):
        action = draw_action(draws)
        record = write_record(action)
        assert write_record(reword(action, draws)) == record
        altered = alter(action, draws)
        assert write_record(altered) != record
        assert says_record(write(Sentence(action)), record)
        assert not says_record(write(Sentence(altered)), record)


def test_record_words_stand_in_no_sentence() -> None:
    """The marks and slot names of records are not words of the grammar."""
    split = generate("syn_data2text", "train", 200, 0)
    told = {word for texts in split.lists["references"] for text in texts for word in text.split()}
    assert not told & {*RECORD_WORDS, STOP}
    assert all(record.endswith(f" {STOP}") for record in split.columns["record"])


def test_data2text_references_are_distinct_and_say_the_record() -> None:
    """Every input has 2 to 5 different references, all of which tell exactly its record."""
    split = generate("syn_data2text", "train", 300, 0)
    for record, references in zip(*split.table().values(), strict=True):
        assert 2 <= len(set(references)) == len(references) <= MOST_REFERENCES
        assert all(says_record(text, record) for text in references)
    assert {len(texts) for texts in split.lists["references"]} == {2, 3, 4, 5}
    assert best_possible(split) == {"says_record": 1.0, "slot_accuracy": 1.0}
    assert split.labels.size == 0


def test_data2text_splits_share_no_meaning() -> None:
    """What is said in one split is said in no other, in whatever words."""
    said = [
        {
            meanings(action_of(text))
            for texts in generate("syn_data2text", split, 300, 0).lists["references"]
            for text in texts
        }
        for split in ("train", "validation", "test")
    ]
    assert not said[0] & said[1]
    assert not said[0] & said[2]
    assert not said[1] & said[2]


def test_choice_truth_is_softmax_in_similarity_read_back() -> None:
    """True probabilities follow from the texts alone, and sum to one in every row."""
    split = generate("syn_choice", "train", 300, 0)
    assert split.true_probabilities is not None
    np.testing.assert_allclose(split.true_probabilities.sum(axis=1), 1.0, atol=1e-12)
    rows = zip(split.columns["prompt"], split.lists["choices"], strict=True)
    for (prompt, choices), truth in zip(rows, split.true_probabilities, strict=True):
        action = action_of(prompt.removesuffix(f" {STOP}"))
        weights = [math.exp(CHOICE_SLOPE * similarity(action, action_of(text))) for text in choices]
        np.testing.assert_allclose(truth, np.array(weights) / sum(weights), atol=1e-12)


def test_choice_options_are_distinct_from_each_other_and_the_prompt() -> None:
    """Four different texts of various lengths, none of them the prompt itself."""
    split = generate("syn_choice", "train", 300, 0)
    for prompt, choices in zip(split.columns["prompt"], split.lists["choices"], strict=True):
        assert len({prompt.removesuffix(f" {STOP}"), *choices}) == N_CHOICES + 1
    lengths = [{len(text) for text in choices} for choices in split.lists["choices"]]
    assert np.mean([len(each) > 1 for each in lengths]) > 0.95


def test_choice_label_frequencies_match_true_probabilities() -> None:
    """Labels occur as often as the truth says, at low, middling and high probabilities."""
    split = generate("syn_choice", "train", 2000, 0)
    p = split.true_probabilities
    assert p is not None
    drawn = np.eye(N_CHOICES)[split.labels]
    for low, high in ((0.0, 0.05), (0.05, 0.3), (0.3, 0.7), (0.7, 1.0)):
        cells = (p >= low) & (p < high)
        spread = math.sqrt((p[cells] * (1.0 - p[cells])).sum())
        assert abs(drawn[cells].sum() - p[cells].sum()) < 4.0 * spread


def test_choice_place_and_length_say_little_of_the_label() -> None:
    """Neither always the same place, nor the longest, nor the shortest choice does well."""
    split = generate("syn_choice", "train", 2000, 0)
    lengths = np.array([[len(text) for text in choices] for choices in split.lists["choices"]])
    places = np.bincount(split.labels, minlength=N_CHOICES) / len(split.labels)
    assert np.abs(places - 1.0 / N_CHOICES).max() < 0.05
    for guess in (lengths.argmax(axis=1), lengths.argmin(axis=1)):
        assert (guess == split.labels).mean() < 0.4


def test_choice_best_possible_accuracy_equals_monte_carlo() -> None:
    """The stated best accuracy is that of the likeliest choice on labels drawn again and again."""
    split = generate("syn_choice", "test", 300, 0)
    p = split.true_probabilities
    assert p is not None
    generator = np.random.default_rng(0)
    drawn = np.array([generator.choice(N_CHOICES, 2000, p=row) for row in p])
    accuracy = (drawn == p.argmax(axis=1)[:, None]).mean()
    best = best_possible(split)
    assert abs(best["accuracy"] - accuracy) < 0.004
    assert best.keys() == {"accuracy", "nll", "brier"}


def test_best_possible_of_split_without_truth_is_refused() -> None:
    """A split about which nothing is known has no best score."""
    bare = replace(generate("syn_choice", "test", 5, 0), true_probabilities=None)
    with pytest.raises(ValueError, match="no true_probabilities"):
        best_possible(bare)
