"""Generated tasks: reproducible, disjoint, and truthful about their own noise."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.synthetic.generators import (
    LABEL_NOISE,
    SIMILARITY_RANGE,
    TASKS,
    Split,
    SyntheticSplit,
    best_possible,
    clipped_mean,
    corrupt,
    room,
)
from gapbench.bench.synthetic.language.grammar import (
    Action,
    NounPhrase,
    Sentence,
    read,
    valence,
    write,
)
from gapbench.bench.synthetic.language.lexicon import STOP, vocabulary
from gapbench.bench.synthetic.language.records import RECORD_WORDS
from gapbench.bench.synthetic.language.rewriting import (
    alter,
    entails,
    generalise,
    meanings,
    reword,
    shorten,
    similarity,
)
from gapbench.bench.synthetic.language.sampling import (
    MAX_WORDS,
    Draws,
    draw_action,
    draw_opinion,
    draw_sentence,
)
from tests.support.splits import generate

SPLITS: tuple[Split, ...] = get_args(Split)
CLASSIFICATION = [name for name, task in TASKS.items() if task.labels]
OF_SENTENCES = [*CLASSIFICATION, "syn_similarity"]
FINGERPRINTS = {
    "syn_acceptability": "0b921d0e421dd5708f080c0dc7c7dba87c0a84dfa2d115666b0cc13e9e653fac",
    "syn_entailment": "8e2a3bd8ffe57f8cec75be2541305b2ab1e187ea787a264fa978c4a68b8d7690",
    "syn_similarity": "c6cf5b458970d3c355efa30f43a87d7990186fe538284ae5d4822c77331faea3",
    "syn_sentiment": "c10f34b0d61fb2732f04cb51ede60c81318aed3fab0d3280d871a201c34ee7d3",
    "syn_data2text": "93f0674366c588169b3c807c5709d1af4ddb131cb951d9be2060261ae2dd56a3",
    "syn_choice": "4fab32da18f3e37bddd780de219106979117be88f18d5f1fdc86409bfc5841a3",
}


def texts(split: SyntheticSplit) -> set[str]:
    """Return every sentence, record, reference and choice of a split."""
    listed = [text for column in split.lists.values() for texts in column for text in texts]
    given = [text for column in split.columns.values() for text in column]
    return {text.removesuffix(f" {STOP}") for text in (*given, *listed)}


@pytest.mark.parametrize("task", TASKS)
def test_generate_known_seed_gives_pinned_rows(task: str) -> None:
    """The same task, split and seed give the same texts and labels on every machine."""
    assert generate(task, "train", 50, 3).fingerprint() == FINGERPRINTS[task]


@pytest.mark.parametrize("task", TASKS)
def test_generate_more_rows_begins_with_the_fewer(task: str) -> None:
    """A longer split begins with the shorter one, labels included."""
    short, long = generate(task, "test", 20, 1).table(), generate(task, "test", 60, 1).table()
    assert short == {name: column[:20] for name, column in long.items()}


@pytest.mark.parametrize("task", TASKS)
def test_generate_other_seed_gives_other_rows(task: str) -> None:
    """The seed decides the rows."""
    one, other = (generate(task, "train", 30, seed).fingerprint() for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize("task", TASKS)
def test_generate_splits_share_no_text(task: str) -> None:
    """No text stands in two splits, even across seeds, nor in the room of pretraining."""
    seen = {name: texts(generate(task, name, 300, seed)) for seed, name in enumerate(SPLITS)}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    for name, split_texts in seen.items():
        assert {room(text) for text in split_texts} == {name}


@pytest.mark.parametrize("task", TASKS)
def test_generate_inputs_are_distinct_and_in_vocabulary(task: str) -> None:
    """Inputs of a split are distinct, short enough, and made of the grammar's words."""
    split = generate(task, "train", 300, 0)
    assert len(set(zip(*split.columns.values(), strict=True))) == 300
    words = {word for text in texts(split) for word in text.split(" ")}
    if task in OF_SENTENCES:
        assert words <= set(vocabulary())
        assert max(len(text.split(" ")) for text in texts(split)) <= MAX_WORDS
    assert words <= {*vocabulary(), *RECORD_WORDS}


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_generate_label_frequencies_match_true_probabilities(task: str) -> None:
    """Labels occur as often as the true probabilities say, overall and where they are sure."""
    split = generate(task, "train", 3000, 0)
    p = split.true_probabilities
    assert p is not None
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    for rows in (p[:, 1] <= 0.3, (p[:, 1] > 0.3) & (p[:, 1] < 0.7), p[:, 1] >= 0.7):
        if rows.any():
            expected, observed = p[rows, 1].sum(), split.labels[rows].sum()
            spread = math.sqrt((p[rows, 0] * p[rows, 1]).sum())
            assert abs(observed - expected) < 4.0 * spread


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_best_possible_accuracy_equals_monte_carlo(task: str) -> None:
    """The stated best accuracy is what the Bayes predictor gets on labels drawn again and again."""
    split = generate(task, "test", 300, 0)
    p = split.true_probabilities
    assert p is not None
    drawn = np.random.default_rng(0).random((4000, len(p))) < p[:, 1]
    accuracy = (drawn == p.argmax(axis=1)).mean()
    assert abs(best_possible(split)["accuracy"] - accuracy) < 0.002


@pytest.mark.parametrize("task", CLASSIFICATION)
def test_best_possible_matthews_is_below_one_and_beats_chance(task: str) -> None:
    """Noise keeps the best Matthews correlation well below 1, and truth keeps it well above 0."""
    best = best_possible(generate(task, "test", 500, 0))
    assert 0.6 < best["matthews_corrcoef"] < 0.85
    assert best["nll"] < math.log(2)


def test_best_possible_under_even_flips_equals_closed_form() -> None:
    """With labels flipped at one rate, accuracy, Brier score and entropy have closed forms."""
    best = best_possible(generate("syn_entailment", "test", 200, 0))
    keep = 1.0 - LABEL_NOISE
    assert best["accuracy"] == pytest.approx(keep)
    assert best["brier"] == pytest.approx(2.0 * keep * LABEL_NOISE)
    entropy = -keep * math.log(keep) - LABEL_NOISE * math.log(LABEL_NOISE)
    assert best["nll"] == pytest.approx(entropy)


@pytest.mark.parametrize("centre", [0.0, 0.3, 2.5, 4.9, 5.0])
def test_clipped_mean_equals_monte_carlo(centre: float) -> None:
    """The mean of a clipped normal agrees with the mean of clipped normal draws."""
    drawn = np.random.default_rng(1).normal(centre, 0.6, 400_000)
    assert clipped_mean(centre, 0.6) == pytest.approx(np.clip(drawn, 0, 5).mean(), abs=0.005)


def test_generate_similarity_labels_scatter_around_true_mean() -> None:
    """Similarity labels stay in range and average to their true mean, low, middle and high."""
    split = generate("syn_similarity", "train", 2000, 0)
    assert split.true_mean is not None
    assert split.labels.min() >= SIMILARITY_RANGE[0]
    assert split.labels.max() <= SIMILARITY_RANGE[1]
    rest = split.labels - split.true_mean
    for low, high in ((0.0, 1.5), (1.5, 3.5), (3.5, 5.0)):
        rows = (split.true_mean >= low) & (split.true_mean < high)
        assert abs(rest[rows].mean()) < 4.0 * rest[rows].std() / math.sqrt(rows.sum())
    assert 0.85 < best_possible(split)["pearson"] < 0.97


def test_generate_acceptability_truth_agrees_with_the_acceptor() -> None:
    """The acceptor tells sentences that are mostly labelled 1 from those mostly labelled 0."""
    split = generate("syn_acceptability", "train", 500, 0)
    assert split.true_probabilities is not None
    accepted = [read(text) is not None for text in split.columns["sentence"]]
    np.testing.assert_array_equal(split.true_probabilities[:, 1] > 0.5, accepted)


def test_generate_entailment_truth_agrees_with_the_logic() -> None:
    """Pairs mostly labelled 0 are those whose hypothesis follows from the premise."""
    split = generate("syn_entailment", "train", 300, 0)
    assert split.true_probabilities is not None
    for premise, hypothesis, p in zip(
        *split.columns.values(), split.true_probabilities, strict=True
    ):
        actions = [sentence.first for text in (premise, hypothesis) if (sentence := read(text))]
        assert all(isinstance(action, Action) for action in actions)
        assert entails(actions[0], actions[1]) == (p[0] > 0.5)  # type: ignore[arg-type]


def test_generate_sentiment_truth_is_logistic_in_valence() -> None:
    """The log-odds of a positive label are proportional to the valence that is read back."""
    split = generate("syn_sentiment", "train", 300, 0)
    assert split.true_probabilities is not None
    odds = np.log(split.true_probabilities[:, 1] / split.true_probabilities[:, 0])
    moods = [valence(sentence) for text in split.columns["sentence"] if (sentence := read(text))]
    np.testing.assert_allclose(odds, 1.6 * np.array(moods), atol=1e-9)


@pytest.mark.parametrize(
    ("task", "split", "n", "message"),
    [
        ("syn_parity", "train", 5, "choose from"),
        ("syn_sentiment", "pretrain", 5, "choose from"),
        ("syn_sentiment", "train", 0, "at least one"),
    ],
)
def test_generate_bad_argument_is_refused(task: str, split: str, n: int, message: str) -> None:
    """An unknown task or split, or an empty size, is refused with the way out."""
    with pytest.raises(ConfigError, match=message):
        generate(task, split, n, 0)  # type: ignore[arg-type]


def test_read_of_written_sentence_gives_it_back() -> None:
    """Reading is the inverse of writing."""
    draws = Draws("test", "round trip")
    for draw in (draw_sentence, draw_opinion, lambda d: Sentence(draw_action(d))):
        for _ in range(300):
            sentence = draw(draws)
            assert read(write(sentence)) == sentence


def test_corrupt_any_sentence_leaves_the_grammar() -> None:
    """The acceptor rejects every corrupted sentence."""
    draws = Draws("test", "corruption")
    for _ in range(1000):
        assert read(corrupt(write(draw_sentence(draws)), draws)) is None


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("the dogs chase a cat", True),
        ("an old dog does not growl near the river", True),
        ("the cake is not very good but the nurse was kind", False),
        ("the dogs chases a cat", False),
        ("a dogs growl", False),
        ("a old dog growls", False),
        ("the lamp chases a cat", False),
        ("the cat devours a lamp", False),
        ("the dog growls the cat", False),
        ("the dog does not growls", False),
        ("the dog", False),
        ("", False),
    ],
)
def test_read_decides_by_agreement_order_and_selection(text: str, *, accepted: bool) -> None:
    """Sentences with broken agreement, articles, selection or completeness are rejected."""
    assert (read(text) is not None) == accepted


def test_rewrites_relate_meanings_as_named() -> None:
    """Rewording keeps meaning, less detail follows, and an altered action differs."""
    draws = Draws("test", "rewrites")
    for _ in range(300):
        action = draw_action(draws)
        reworded = reword(action, draws)
        assert meanings(reworded) == meanings(action)
        assert similarity(action, reworded) == pytest.approx(1.0)
        assert entails(action, reworded)
        assert action.negated or entails(action, generalise(shorten(reworded, draws), draws))
        altered = alter(action, draws)
        assert meanings(altered) != meanings(action)
        assert read(write(Sentence(altered))) is not None
        assert similarity(action, altered) == pytest.approx(similarity(altered, action))


def test_similarity_of_half_shared_actions_equals_hand_count() -> None:
    """Same verb (2), nouns of one category (1 of 2), no adverb on one side (0 of 1): 3 of 5."""
    dog, cat = (NounPhrase("the", None, noun, plural=False) for noun in ("dog", "cat"))
    first = Action(dog, "rest", past=True, negated=False, object=None, adverb="slowly",
                   preposition=None, place=None)  # fmt: skip
    second = Action(cat, "relax", past=True, negated=False, object=None, adverb=None,
                    preposition=None, place=None)  # fmt: skip
    assert similarity(first, second) == pytest.approx(0.6)
