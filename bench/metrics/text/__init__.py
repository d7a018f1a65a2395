"""Metrics of generated text: pure functions of hypotheses and references, and the table of them.

Each takes one hypothesis and a list of references an example, and returns one number for the whole
corpus. They equal the scripts that the field reports with, by file: `mteval` (BLEU, NIST),
`captions` (ROUGE-L, CIDEr), `edits` (TER, chrF) and `meteor_program`. Metrics of classes and values
are in `bench.metrics.classification`, of answer spans in `bench.metrics.squad`; nothing here
generates text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.metrics.base import Metric
from gapbench.bench.metrics.evaluate_module import wrap
from gapbench.bench.metrics.text.bleu_nist import bleu, nist
from gapbench.bench.metrics.text.meteor import meteor, unsupported_reason
from gapbench.bench.metrics.text.rouge_cider import cider, rouge_l
from gapbench.bench.metrics.text.ter_chrf import chrf, ter

if TYPE_CHECKING:
    import evaluate


TEXT_METRICS = (
    Metric(
        name="bleu",
        kind="texts",
        function=bleu,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="Precision of word 1- to 4-grams, without case, with a brevity penalty.",
        reference="mteval-v13a.pl of tuetschek/e2e-metrics",
    ),
    Metric(
        name="nist",
        kind="texts",
        function=nist,
        range=(0.0, math.inf),
        higher_is_better=True,
        description="Matching word 1- to 5-grams, weighted by their information in bits.",
        reference="mteval-v13a.pl of tuetschek/e2e-metrics",
    ),
    Metric(
        name="meteor",
        kind="texts",
        function=meteor,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="Aligned words, stems, synonyms and paraphrases; needs Java.",
        reference="meteor-1.5.jar as called by coco-caption",
        unsupported_reason=unsupported_reason,
    ),
    Metric(
        name="rouge_l",
        kind="texts",
        function=rouge_l,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="F measure of the longest common subsequence of words.",
        reference="coco-caption, pycocoevalcap/rouge",
    ),
    Metric(
        name="cider",
        kind="texts",
        function=cider,
        range=(0.0, 10.0),
        higher_is_better=True,
        description="Cosine of word 1- to 4-grams, weighted by their rarity in the references.",
        reference="coco-caption, pycocoevalcap/cider",
    ),
    Metric(
        name="ter",
        kind="texts",
        function=ter,
        range=(0.0, math.inf),
        higher_is_better=False,
        description="Edits and shifts a reference word.",
        reference="sacrebleu.metrics.TER, divided by 100",
    ),
    Metric(
        name="chrf",
        kind="texts",
        function=chrf,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="F measure (beta 2) of character 1- to 6-grams.",
        reference="sacrebleu.metrics.CHRF, divided by 100",
    ),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in TEXT_METRICS})
"""Every metric of generated text by name, in the order of the field's tables."""


def get(name: str) -> Metric:
    """Return the metric called `name`.

    Raises:
        ConfigError: There is no such metric.
    """
    if name not in METRICS:
        raise ConfigError(f"text metric: {name!r} is unknown; use one of {', '.join(METRICS)}")
    return METRICS[name]


def score(
    names: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float | None]:
    """Compute the named metrics of one corpus.

    Args:
        names: metrics to compute.
        hypotheses: one output an example.
        references: one or more texts an example; blank ones are ignored.

    Returns:
        One score per name, None where the metric's `unsupported_reason` gives a reason.

    Raises:
        ConfigError: A name is unknown.
        DataError: There is no example, the two differ in length, or an example has no reference.
    """
    metrics = [get(name) for name in names]
    return {metric.name: metric.function(hypotheses, references) for metric in metrics}


def unavailable(names: Sequence[str]) -> dict[str, str]:
    """Return the reason for each named metric that cannot be computed on this machine.

    Raises:
        ConfigError: A name is unknown.
    """
    reasons = {name: get(name).unsupported_reason() for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def as_evaluate(name: str) -> evaluate.Metric:
    """Wrap a metric for the `evaluate` package; see `bench.metrics.evaluate_module.wrap`.

    Raises:
        ConfigError: There is no such metric.
    """
    return wrap(get(name))
