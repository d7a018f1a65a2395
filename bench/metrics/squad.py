"""Exact match and F1 of answer spans, equal to the official evaluation scripts of SQuAD.

Scores are fractions where the scripts print percentages. The two versions of SQuAD differ on empty
answers, so each function takes the version. The search for a threshold on no-answer probabilities
is left out, because it chooses on the data it reports.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.metrics.base import metric

Version = Literal["1.1", "2.0"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalised(answer: str) -> str:
    """Return an answer in lower case, without ASCII punctuation, articles and extra spaces."""
    return " ".join(_ARTICLE.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def _matches(prediction: str, answer: str, version: Version) -> float:  # noqa: ARG001
    return float(prediction == answer)


def _overlap(prediction: str, answer: str, version: Version) -> float:
    words, wanted = prediction.split(), answer.split()
    if version == "2.0" and not (words and wanted):
        return float(words == wanted)
    shared = (Counter(words) & Counter(wanted)).total()
    return 2 * shared / (len(words) + len(wanted)) if shared else 0.0


@metric(
    "exact_match",
    "spans",
    description="Share of answers that equal one of the accepted ones once normalised.",
    reference="evaluate-v1.1.py and evaluate-v2.0.py of SQuAD",
    items=lambda *given: np.array(_best(_matches, *given)),
)
def exact_match(
    predictions: Sequence[str], references: Sequence[Sequence[str]], version: Version
) -> float:
    """Return the share of predictions that equal one of their answers once normalised, in [0, 1].

    Args:
        predictions: one answer per question; the empty text says that there is none.
        references: accepted answers of each question; none, in version 2.0, where the question
            cannot be answered.
        version: version of SQuAD. In 2.0 an accepted answer that normalises to nothing is ignored
            if there are others.

    Raises:
        ConfigError: The version is unknown.
        DataError: There is no question, the two differ in length, or a question of version 1.1 has
            no answer.

    Source: Rajpurkar et al. 2016 and 2018; evaluate-v1.1.py and evaluate-v2.0.py of SQuAD.
    """
    return _mean(_best(_matches, predictions, references, version))


@metric(
    "span_f1",
    "spans",
    title="span F1",
    description="Mean F1 of words shared with the best of the accepted answers.",
    reference="evaluate-v1.1.py and evaluate-v2.0.py of SQuAD",
    items=lambda *given: np.array(_best(_overlap, *given)),
)
def f1(predictions: Sequence[str], references: Sequence[Sequence[str]], version: Version) -> float:
    """Return the mean F1 of words shared with the best of the accepted answers, in [0, 1].

    If a side normalises to nothing, version 2.0 gives 1 if both do and 0 otherwise; version 1.1
    always gives 0, even if the pair is an exact match.

    Args:
        predictions: one answer per question; the empty text says that there is none.
        references: accepted answers of each question; none, in version 2.0, where the question
            cannot be answered.
        version: version of SQuAD.

    Raises:
        ConfigError: The version is unknown.
        DataError: There is no question, the two differ in length, or a question of version 1.1 has
            no answer.

    Source: Rajpurkar et al. 2016 and 2018; evaluate-v1.1.py and evaluate-v2.0.py of SQuAD.
    """
    return _mean(_best(_overlap, predictions, references, version))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _best(
    measure: Callable[[str, str, Version], float],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    version: Version,
) -> list[float]:
    """Return each question's highest value of a measure over its accepted answers."""
    if version not in get_args(Version):
        raise ConfigError(
            f"span metrics: version {version!r} is unknown; use one of {get_args(Version)}"
        )
    if not len(predictions) or len(predictions) != len(references):
        raise DataError(
            f"span metrics: given {len(predictions)} predictions and the answers of "
            f"{len(references)} questions; give one prediction per question, and at least 1"
        )
    return [
        max(
            measure(normalised(prediction), answer, version)
            for answer in _accepted(index, answers, version)
        )
        for index, (prediction, answers) in enumerate(zip(predictions, references, strict=True))
    ]


def _accepted(index: int, answers: Sequence[str], version: Version) -> list[str]:
    """Return the normalised answers of a question, the empty text if it has none."""
    if isinstance(answers, str):
        raise DataError(
            f"span metrics: answers of question {index} are the single text {answers[:40]!r}; give "
            f"a list of texts for each question"
        )
    texts = [normalised(answer) for answer in answers]
    if version == "2.0":
        return [text for text in texts if text] or [""]
    if not texts:
        raise DataError(
            f"span metrics: question {index} has no answer; every question of SQuAD 1.1 has one, "
            f"so give at least 1, or score as version '2.0'"
        )
    return texts
