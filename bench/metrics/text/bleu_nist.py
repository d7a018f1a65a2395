"""BLEU and NIST, equal to the official script of the E2E challenge.

That script runs NIST's mteval-v13a over the whole test set as one document. sacrebleu supplies
mteval's tokenisation; the counting is our own, because no library matches its scores to the last
digit: sacrebleu has no NIST, lower-cases letters that mteval leaves alone, and scores 0 if a corpus
is too short for 4-grams. Caption metrics are in `bench.metrics.text.rouge_cider`.
"""

from __future__ import annotations

import math
import string
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import NDArray
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.influence import centred, jackknife
from gapbench.bench.metrics.text.inputs import Hypotheses, References, remembered

Floats = NDArray[np.float64]
Ngram = tuple[str, ...]

_tokenise = Tokenizer13a()
# mteval lower-cases the 26 letters of ASCII only: `É` stays as it is.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@remembered("bleu")
def _bleu_counts(hypotheses: Hypotheses, references: References) -> Floats:
    """Return the terms of BLEU's sums for each example, `(n, 10)`.

    These are the matched and the possible n-grams of four orders, and the words of the output and
    of the reference closest in length.
    """
    rows = []
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        words, others = _words(hypothesis), [_words(text) for text in texts]
        matched, possible = zip(*_overlap(words, others, longest=4), strict=True)
        closest = min((abs(len(o) - len(words)), len(o)) for o in others)[1]
        rows.append([*matched, *possible, len(words), closest])
    return np.array(rows, dtype=np.float64)


def _bleu(sums: Floats) -> Floats:
    """Return BLEU from sums of `_bleu_counts`; `(..., 10)` gives `(...)`."""
    matched, possible, length, closest = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    unmatched = (possible > 0) & (matched == 0)
    smoothed = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), matched)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.where(possible > 0, np.log(smoothed / possible), 0.0)
        brevity = np.minimum(0.0, 1 - closest / length)
        return np.where(length > 0, np.exp(logs.mean(axis=-1) + brevity), 0.0)


@metric(
    "bleu",
    "texts",
    title="BLEU",
    description="Precision of word 1- to 4-grams, without case, with a brevity penalty.",
    reference="mteval-v13a.pl of tuetschek/e2e-metrics",
    items=lambda *texts: jackknife(_bleu_counts(*texts), _bleu),
)
def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return BLEU of a corpus, in [0, 1]: 1- to 4-grams, without case, closest reference length.

    The k-th order without a match counts as 1 / 2^k matches; an order that no hypothesis is long
    enough for counts as a precision of 1. Hypotheses without a word score 0.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Papineni et al., "BLEU", 2002; mteval-v13a.pl as called by tuetschek/e2e-metrics.
    """
    return float(_bleu(_bleu_counts(hypotheses, references).sum(axis=0)))


@remembered("nist")
def _nist_sums(hypotheses: Hypotheses, references: References) -> tuple[Floats, Floats]:
    """Return the terms of NIST's sums for each example, `(n, 13)`, and its effect on the others.

    The terms are the information and number of n-grams of five orders, the words of the references,
    the number of references, and 1. The effects, `(n, 5)`, are the derivatives of the information
    of all matches by the weight of the example's references.
    """
    outputs = [_words(hypothesis) for hypothesis in hypotheses]
    targets = [[_words(text) for text in each] for each in references]
    counts = [_reference_counts(each) for each in targets]
    weights = Counter[Ngram]()
    for own in counts:
        weights.update(own)

    sums, moves = np.zeros((len(outputs), 13)), np.zeros((len(outputs), 5))
    slopes: dict[Ngram, Floats] = defaultdict(lambda: np.zeros(5))
    for row, words, others in zip(sums, outputs, targets, strict=True):
        for ngram, count in _matches(words, others, longest=5).items():
            # Perl treats the text "0" as false, so a word after it counts as a first word.
            context = () if ngram[:-1] == ("0",) else ngram[:-1]
            order = len(ngram) - 1
            row[order] += count * math.log2(weights[context] / weights[ngram])
            slopes[context][order] += count / math.log(2) / weights[context]
            slopes[ngram][order] -= count / math.log(2) / weights[ngram]
        row[5:10] = [max(len(words) - n, 0) for n in range(5)]
        row[10:] = sum(map(len, others)), len(others), 1
    for move, own in zip(moves, counts, strict=True):
        for ngram in own.keys() & slopes.keys():
            move += own[ngram] * slopes[ngram]
    return sums, moves


def _nist_items(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Return the pseudo-values of NIST, `(n,)`.

    An example counts twice: through its own matches, and through its references, which make n-grams
    more common and thus change the value of all matches.
    """
    sums, moves = _nist_sums(hypotheses, references)
    total = sums.sum(axis=0)
    bits = (moves / np.maximum(total[5:10], 1)).sum(axis=1) * _length_penalty(_length_ratio(total))
    return jackknife(sums, _nist) + centred(0.0, len(sums) * bits)


@metric(
    "nist",
    "texts",
    title="NIST",
    description="Matching word 1- to 5-grams, weighted by their information in bits.",
    reference="mteval-v13a.pl of tuetschek/e2e-metrics",
    range=(0.0, math.inf),
    items=_nist_items,
)
def nist(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return NIST of a corpus, from 0 upwards: 1- to 5-grams weighted by their information.

    The unit is bits; good output for E2E reaches about 9. Output shorter than a reference is
    penalised. The reference length is the mean over all references of the corpus, so examples with
    many references weigh more. This is the official script; its Python port averages over examples
    first, and differs if output is short and examples have different numbers of references.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Doddington, "Automatic evaluation of machine translation quality using n-gram
    co-occurrence statistics", 2002; mteval-v13a.pl as called by tuetschek/e2e-metrics.
    """
    return float(_nist(_nist_sums(hypotheses, references)[0].sum(axis=0)))


def _reference_counts(texts: list[list[str]]) -> Counter[Ngram]:
    """Count the n-grams of an example's references; the empty n-gram counts their words."""
    counts = Counter(ngram for words in texts for ngram in _ngrams(words, 5))
    counts[()] = sum(map(len, texts))
    return counts


def _nist(sums: Floats) -> Floats:
    """Return NIST from sums of `_nist_sums`; `(..., 13)` gives `(...)`."""
    bits = (sums[..., :5] / np.maximum(sums[..., 5:10], 1)).sum(axis=-1)
    return np.asarray(bits * _length_penalty(_length_ratio(sums)))


def _length_ratio(sums: Floats) -> Floats:
    n_words, n_references, n_examples = np.moveaxis(sums[..., 10:], -1, 0)
    return np.asarray(sums[..., 5] / (np.maximum(n_words, 1) / n_references * n_examples))


def _length_penalty(ratio: Floats) -> Floats:
    """Return 1 for output as long as a reference, 0.5 at two thirds of its length, 0 if empty."""
    with np.errstate(divide="ignore"):
        shortness = np.log(np.minimum(ratio, 1)) / math.log(1.5)
    return np.asarray(0.5**shortness**2)


def _words(text: str) -> list[str]:
    return str(_tokenise(text)).translate(_LOWER).split()


def _ngrams(words: list[str], longest: int) -> list[Ngram]:
    """List the n-grams of 1 to `longest` words, with repetitions."""
    orders = range(1, longest + 1)
    return [tuple(words[i : i + n]) for n in orders for i in range(len(words) - n + 1)]


def _matches(words: list[str], others: list[list[str]], longest: int) -> Counter[Ngram]:
    """Count the n-grams shared with references, each at most as often as in one reference."""
    allowed = reduce(or_, (Counter(_ngrams(other, longest)) for other in others))
    return Counter(_ngrams(words, longest)) & allowed


def _overlap(words: list[str], others: list[list[str]], longest: int) -> list[tuple[int, int]]:
    """Return matched and possible n-grams of each order."""
    matched = Counter[int]()
    for ngram, count in _matches(words, others, longest).items():
        matched[len(ngram)] += count
    return [(matched[n], max(len(words) - n + 1, 0)) for n in range(1, longest + 1)]
