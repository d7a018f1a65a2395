"""TER and chrF: sacrebleu's values, as fractions.

Both are sacrebleu with its defaults. TER calls its edit search itself, to spare references that
cannot be the nearest: the search is slow, and most references of an example can be ruled out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import cast

from sacrebleu.metrics import lib_ter
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers.tokenizer_ter import TercomTokenizer

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.text.distance import WordDistance
from gapbench.bench.metrics.text.inputs import checked


@metric(
    "ter",
    "texts",
    description="Edits and shifts per reference word.",
    reference="sacrebleu.metrics.TER, divided by 100",
    range=(0.0, math.inf),
    higher_is_better=False,
)
def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the translation edit rate of a corpus: edits per reference word, from 0 upwards.

    Lower is better, and output much longer than its references passes 1. Words are what spaces
    separate, in lower case. Each example counts its fewest edits to a reference, over the mean
    length of its references.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Snover et al., "A study of translation edit rate", 2006; sacrebleu.metrics.TER.
    """
    texts = checked("ter", hypotheses, references)
    tokenise = TercomTokenizer()
    n_edits, length = 0, 0.0
    for hypothesis, each in zip(hypotheses, texts, strict=True):
        targets = [tokenise(text.rstrip()).split() for text in each]
        n_edits += _fewest_edits(tokenise(hypothesis.rstrip()).split(), targets)
        length += sum(map(len, targets)) / len(targets)
    return n_edits / length


def _fewest_edits(words: list[str], targets: list[list[str]]) -> int:
    """Return the edits that sacrebleu finds between words and the nearest target.

    Shifts leave the words of a text as they are and any other edit mends one of them, so the words
    without a partner are a lower bound on the edits.
    """
    counts = Counter(words)
    bounds = [
        max(len(words), len(target)) - (counts & Counter(target)).total() for target in targets
    ]
    fewest: int | None = None
    for bound, target in sorted(zip(bounds, targets, strict=True)):
        if fewest is not None and bound >= fewest:
            break
        n_edits = _edits(words, target)
        fewest = n_edits if fewest is None else min(fewest, n_edits)
    return fewest or 0


def _edits(words: list[str], target: list[str]) -> int:
    """Return shifts and other edits between words and a target: sacrebleu's search for shifts.

    Each round makes the shift that spares the most edits, until none does, or too many were tried.
    """
    distance = WordDistance(target)
    n_shifts = n_tried = 0
    while True:
        distance.traced = words
        spared, shifted, n_tried = lib_ter._shift(words, target, distance, n_tried)
        if spared <= 0 or n_tried >= lib_ter._MAX_SHIFT_CANDIDATES:
            return n_shifts + distance(words)[0]
        n_shifts, words = n_shifts + 1, shifted


@metric(
    "chrf",
    "texts",
    description="F measure (beta 2) of character 1- to 6-grams.",
    reference="sacrebleu.metrics.CHRF, divided by 100",
)
def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return chrF2 of a corpus, in [0, 1]: F measure (beta 2) of character 1- to 6-grams.

    Case counts, spaces do not. Each example counts the reference that suits it best.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Popovic, "chrF", 2015; sacrebleu.metrics.CHRF.
    """
    texts = checked("chrf", hypotheses, references)
    # sacrebleu asks for one list a reference number, with None where an example has fewer, which
    # its annotations leave out.
    columns = cast("list[tuple[str, ...]]", list(zip_longest(*texts)))
    return float(CHRF().corpus_score(hypotheses, columns).score) / 100
