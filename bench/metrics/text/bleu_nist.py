"""BLEU and NIST, equal to the official script of the E2E challenge.

That script runs NIST's mteval-v13a over the whole test set as one document. sacrebleu supplies
mteval's tokenisation; the counting is here, because no library gives its scores to the last digit:
sacrebleu has no NIST, lower-cases letters that mteval leaves alone, and scores 0 where a corpus is
too short for 4-grams. Metrics of captions are in `bench.metrics.text.rouge_cider`.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import or_

from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.text.inputs import checked

Ngram = tuple[str, ...]

_tokenise = Tokenizer13a()
# mteval lower-cases the 26 letters of ASCII only: `É` stays as it is.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@metric(
    "bleu",
    "texts",
    description="Precision of word 1- to 4-grams, without case, with a brevity penalty.",
    reference="mteval-v13a.pl of tuetschek/e2e-metrics",
)
def bleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return BLEU of a corpus, in [0, 1]: 1- to 4-grams, without case, closest reference length.

    An order without a match counts as 1 / 2^k matches, k being how many such orders there are up to
    it; an order that no hypothesis is long enough for counts as a precision of 1. Hypotheses
    without a word score 0.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Papineni et al., "BLEU", 2002; mteval-v13a.pl as called by tuetschek/e2e-metrics.
    """
    matched, possible = [0] * 4, [0] * 4
    length = closest = 0
    for hypothesis, texts in zip(hypotheses, checked("bleu", hypotheses, references), strict=True):
        words, others = _words(hypothesis), [_words(text) for text in texts]
        for n, (n_matched, n_possible) in enumerate(_overlap(words, others, longest=4)):
            matched[n] += n_matched
            possible[n] += n_possible
        length += len(words)
        closest += min((abs(len(o) - len(words)), len(o)) for o in others)[1]
    if not length:
        return 0.0
    log_precision, halving = 0.0, 1
    for n_matched, n_possible in zip(matched, possible, strict=True):
        if n_possible and not n_matched:
            halving *= 2
            log_precision -= math.log(halving * n_possible)
        elif n_possible:
            log_precision += math.log(n_matched / n_possible)
    return math.exp(log_precision / 4 + min(0.0, 1 - closest / length))


@metric(
    "nist",
    "texts",
    description="Matching word 1- to 5-grams, weighted by their information in bits.",
    reference="mteval-v13a.pl of tuetschek/e2e-metrics",
    range=(0.0, math.inf),
)
def nist(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return NIST of a corpus, from 0 upwards: 1- to 5-grams weighted by their information.

    The unit is bits; good output for E2E reaches about 9. Output shorter than a reference loses,
    and the length of a reference is the mean over all references of the corpus, so an example with
    many counts for much. That is the official script; its Python twin averages over examples first,
    and so differs where output is short and examples have different numbers of references.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Doddington, "Automatic evaluation of machine translation quality using n-gram
    co-occurrence statistics", 2002; mteval-v13a.pl as called by tuetschek/e2e-metrics.
    """
    texts = checked("nist", hypotheses, references)
    outputs = [_words(hypothesis) for hypothesis in hypotheses]
    targets = [[_words(text) for text in each] for each in texts]
    counts = Counter(ngram for each in targets for words in each for ngram in _ngrams(words, 5))
    n_words = sum(len(words) for each in targets for words in each)
    n_references = sum(len(each) for each in targets)

    information, possible = [0.0] * 5, [0] * 5
    for words, others in zip(outputs, targets, strict=True):
        for ngram, count in _matches(words, others, longest=5).items():
            # Perl takes the text "0" for nothing, so a word after it counts as a first word.
            context = n_words if ngram[:-1] in ((), ("0",)) else counts[ngram[:-1]]
            information[len(ngram) - 1] += count * math.log2(context / counts[ngram])
        for n in range(5):
            possible[n] += max(len(words) - n, 0)
    score = sum(bits / max(n, 1) for bits, n in zip(information, possible, strict=True))
    return score * _length_penalty(possible[0] / (max(n_words, 1) / n_references * len(texts)))


def _length_penalty(ratio: float) -> float:
    """Return 1 for output as long as a reference, 0.5 for two thirds of it, 0 for none."""
    if not ratio:
        return 0.0
    return math.exp(math.log(0.5) * (math.log(min(ratio, 1)) / math.log(1.5)) ** 2)


def _words(text: str) -> list[str]:
    return str(_tokenise(text)).translate(_LOWER).split()


def _ngrams(words: list[str], longest: int) -> list[Ngram]:
    """List the n-grams of 1 to `longest` words, repeated ones repeatedly."""
    orders = range(1, longest + 1)
    return [tuple(words[i : i + n]) for n in orders for i in range(len(words) - n + 1)]


def _matches(words: list[str], others: list[list[str]], longest: int) -> Counter[Ngram]:
    """Count the n-grams shared with a reference, each at most as often as one reference has it."""
    allowed = reduce(or_, (Counter(_ngrams(other, longest)) for other in others))
    return Counter(_ngrams(words, longest)) & allowed


def _overlap(words: list[str], others: list[list[str]], longest: int) -> list[tuple[int, int]]:
    """Return matched and possible n-grams of each order."""
    matched = Counter[int]()
    for ngram, count in _matches(words, others, longest).items():
        matched[len(ngram)] += count
    return [(matched[n], max(len(words) - n + 1, 0)) for n in range(1, longest + 1)]
