"""Tasks generated from the built-in grammar, whose truth is known for every example.

Each task draws its inputs from the grammar, computes the exact distribution of the label given the
input, and draws the label from it. So the best score that any model can reach is known, and so is
the perfectly calibrated prediction. numpy only; nothing here trains or tokenises.

| task | input | label | truth |
| --- | --- | --- | --- |
| `syn_acceptability` | `sentence` | 1 if in the grammar | flipped at `LABEL_NOISE` |
| `syn_entailment` | `premise`, `hypothesis` | 0 if entailed | flipped at `LABEL_NOISE` |
| `syn_sentiment` | `sentence` | 1 if kind | logistic in the summed valence of the opinions |
| `syn_similarity` | `sentence1`, `sentence2` | 0 to 5 | clipped normal around the shared meaning |

No sentence, alone or in a pair, stands in two splits, whatever the sizes and seeds: the hash of a
sentence's text gives the one split it may be used in (`room`). A fourth room is kept for
pretraining, so a backbone made by `bench.pretrain` has seen no sentence of any task.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import ConfigError
from bench.language.grammar import Sentence, read, valence, write
from bench.language.lexicon import NOUNS, other_forms
from bench.language.rewriting import alter, entails, generalise, reword, shorten, similarity
from bench.language.sampling import MAX_WORDS, Draws, draw_action, draw_opinion, draw_sentence

Split = Literal["train", "validation", "test"]
Room = Literal["pretrain", "train", "validation", "test"]

ROOMS: tuple[Room, ...] = ("pretrain", "train", "validation", "test")
LABEL_NOISE = 0.12
"""Probability that the label of an acceptability or entailment example is flipped."""

SENTIMENT_SLOPE = 1.6
"""Log-odds of a positive label per unit of valence."""

SIMILARITY_NOISE = 0.6
"""Standard deviation of a similarity label before clipping to `SIMILARITY_RANGE`."""

SIMILARITY_RANGE = (0.0, 5.0)
_LABEL_DECIMALS = 3


@dataclass(frozen=True)
class SyntheticTask:
    """What a generated task looks like.

    Attributes:
        columns: Names of the text columns, one or two.
        labels: Names of the classes in label order; empty for regression.
        propose: Draws the texts of one example and its truth: the probability of class 1, or the
            centre of the label before clipping.
    """

    columns: tuple[str, ...]
    labels: tuple[str, ...]
    propose: Callable[[Draws], tuple[tuple[str, ...], float]]


@dataclass(frozen=True)
class SyntheticSplit:
    """The examples of one split and the truth about them.

    Attributes:
        columns: Texts by column name, each of length n.
        labels: Drawn labels, (n,), int64 classes or float64 scores.
        true_probabilities: P(label | input), (n, n_classes); None for regression.
        true_mean: E(label | input), (n,); None for classification.
        noise_sd: Standard deviation of the label before clipping; None for classification.
    """

    columns: Mapping[str, list[str]]
    labels: NDArray[np.int64] | NDArray[np.float64]
    true_probabilities: NDArray[np.float64] | None = None
    true_mean: NDArray[np.float64] | None = None
    noise_sd: float | None = None

    def fingerprint(self) -> str:
        """Return the sha256 of the texts and labels, the same on every machine."""
        rows = zip(*self.columns.values(), self.labels.tolist(), strict=True)
        lines = "\n".join("\t".join(map(str, row)) for row in rows)
        return hashlib.sha256(lines.encode()).hexdigest()


def room(text: str) -> Room:
    """Return the only split in which a sentence may be used, a fair share of all for each."""
    return ROOMS[hashlib.sha256(text.encode()).digest()[0] % len(ROOMS)]


def generate(task: str, split: Split, n: int, seed: int) -> SyntheticSplit:
    """Generate the first `n` examples of a split; inputs are distinct.

    Inputs and labels come from two streams of draws, so a longer split begins with the shorter one.

    Args:
        task: A key of `TASKS`.
        split: `train`, `validation` or `test`.
        n: Number of examples, above 0.
        seed: Any integer; the same seed gives the same examples on every machine.

    Raises:
        ConfigError: On an unknown task or split, or `n` below 1.
    """
    if task not in TASKS:
        raise ConfigError(f"task: no generated task is named {task!r}; choose from {list(TASKS)}")
    if split not in ROOMS[1:]:
        raise ConfigError(f"split: given {split!r}; choose from {list(ROOMS[1:])}")
    if n < 1:
        raise ConfigError(f"n: given {n}; a split needs at least one example")
    drawn: dict[tuple[str, ...], float] = {}
    inputs = Draws("gapbench synthetic", task, split, seed, "inputs")
    while len(drawn) < n:
        texts, truth = TASKS[task].propose(inputs)
        if all(room(text) == split for text in texts):
            drawn[texts] = truth
    rows = zip(*drawn, strict=True)
    columns = {name: list(texts) for name, texts in zip(TASKS[task].columns, rows, strict=True)}
    labels = Draws("gapbench synthetic", task, split, seed, "labels")
    return _label(columns, np.array(list(drawn.values())), labels, TASKS[task])


def _label(
    columns: dict[str, list[str]], truth: NDArray[np.float64], draws: Draws, task: SyntheticTask
) -> SyntheticSplit:
    if task.labels:
        classes = np.array([draws.chance(p) for p in truth], dtype=np.int64)
        return SyntheticSplit(columns, classes, np.stack([1.0 - truth, truth], axis=1))
    noisy = truth + SIMILARITY_NOISE * np.array([draws.normal() for _ in truth])
    return SyntheticSplit(
        columns,
        np.clip(noisy, *SIMILARITY_RANGE).astype(np.float64).round(_LABEL_DECIMALS),
        true_mean=np.array([clipped_mean(centre, SIMILARITY_NOISE) for centre in truth]),
        noise_sd=SIMILARITY_NOISE,
    )


def clipped_mean(centre: float, sd: float) -> float:
    """Return the mean of a normal variable after clipping it to `SIMILARITY_RANGE`.

    With z = (bound - centre) / sd at each bound, and P, p the standard normal distribution and
    density: low P(z_low) + high (1 - P(z_high)) + centre (P(z_high) - P(z_low))
    + sd (p(z_low) - p(z_high)). Labels are then rounded to 3 decimals, which moves it by far less.
    """
    low, high = SIMILARITY_RANGE
    normal = NormalDist()
    z_low, z_high = (low - centre) / sd, (high - centre) / sd
    inside = normal.cdf(z_high) - normal.cdf(z_low)
    tails = low * normal.cdf(z_low) + high * (1.0 - normal.cdf(z_high))
    return tails + centre * inside + sd * (normal.pdf(z_low) - normal.pdf(z_high))


def best_possible(split: SyntheticSplit) -> dict[str, float]:
    """Score the predictor that knows the truth; no model does better in expectation.

    Returns:
        For classification, expected `accuracy`, `nll` (nats), `brier` (summed over classes) and the
        `matthews_corrcoef` of the expected confusion counts; these use the probabilities and not
        the drawn labels. For regression, `pearson` and `mse` of the true mean against the labels.
    """
    if split.true_probabilities is None:
        if split.true_mean is None:
            raise ValueError("split holds neither true_probabilities nor true_mean")
        return {
            "pearson": float(np.corrcoef(split.true_mean, split.labels)[0, 1]),
            "mse": float(np.mean((split.true_mean - split.labels) ** 2)),
        }
    p = split.true_probabilities
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=1)
    return {
        "accuracy": float(p.max(axis=1).mean()),
        "matthews_corrcoef": _expected_matthews(p),
        "nll": float(entropy.mean()),
        "brier": float((1.0 - (p**2).sum(axis=1)).mean()),
    }


def _expected_matthews(p: NDArray[np.float64]) -> float:
    chosen = p.argmax(axis=1)
    (tn, fn), (fp, tp) = (p[chosen == k].sum(axis=0).tolist() for k in (0, 1))
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(spread) if spread > 0 else 0.0


# The four tasks


def _flip(is_one: bool) -> float:  # noqa: FBT001 - a truth value is what it takes
    return 1.0 - LABEL_NOISE if is_one else LABEL_NOISE


def _propose_acceptability(draws: Draws) -> tuple[tuple[str, ...], float]:
    text = write(draw_sentence(draws))
    acceptable = draws.chance(0.5)
    return (text if acceptable else corrupt(text, draws),), _flip(acceptable)


def _propose_entailment(draws: Draws) -> tuple[tuple[str, ...], float]:
    entailed = draws.chance(0.5)
    while True:
        premise = draw_action(draws, detail=0.6)
        weaker = reword(premise, draws)
        if not premise.negated:
            weaker = generalise(shorten(weaker, draws), draws)
        kind = 0.0 if entailed else draws.uniform()
        pair = (weaker, premise) if kind > 0.7 else (premise, weaker)
        if 0.0 < kind <= 0.7:
            pair = (premise, alter(weaker, draws))
        if pair[0] != pair[1] and entails(*pair) == entailed:
            premise_text, hypothesis_text = (write(Sentence(action)) for action in pair)
            return (premise_text, hypothesis_text), _flip(not entailed)


def _propose_similarity(draws: Draws) -> tuple[tuple[str, ...], float]:
    first = draw_action(draws)
    second = reword(first, draws)
    n_changes = draws.below(8)
    for _ in range(n_changes):
        second = alter(second, draws)
    if n_changes == 7:
        second = draw_action(draws)
    texts = write(Sentence(first)), write(Sentence(second))
    return texts, SIMILARITY_RANGE[1] * similarity(first, second)


def _propose_sentiment(draws: Draws) -> tuple[tuple[str, ...], float]:
    sentence = draw_opinion(draws)
    return (write(sentence),), 1.0 / (1.0 + math.exp(-SENTIMENT_SLOPE * valence(sentence)))


TASKS: Mapping[str, SyntheticTask] = {
    "syn_acceptability": SyntheticTask(
        ("sentence",), ("unacceptable", "acceptable"), _propose_acceptability
    ),
    "syn_entailment": SyntheticTask(
        ("premise", "hypothesis"), ("entailment", "not_entailment"), _propose_entailment
    ),
    "syn_similarity": SyntheticTask(("sentence1", "sentence2"), (), _propose_similarity),
    "syn_sentiment": SyntheticTask(("sentence",), ("negative", "positive"), _propose_sentiment),
}
"""Every generated task by name."""


# Corruption

_OTHER_FORMS = other_forms()


def corrupt(text: str, draws: Draws) -> str:
    """Change a sentence a little, so that it is certainly outside the grammar.

    One of: a word in another of its forms (agreement), two neighbours swapped (order), a noun of
    another category (selection), or a word left out.
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
