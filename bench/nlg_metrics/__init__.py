"""Metrics of generated text: pure functions of hypotheses and references, and the table of them.

Each takes one hypothesis and a list of references an example, and returns one number for the whole
corpus. They equal the scripts that the field reports with, by file: `mteval` (BLEU, NIST),
`captions` (ROUGE-L, CIDEr), `edits` (TER, chrF) and `meteor_program`. Metrics of classes and values
are in `bench.metrics`, of answer spans in `bench.span_metrics`; nothing here generates text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError
from bench.nlg_metrics.captions import cider, rouge_l
from bench.nlg_metrics.edits import chrf, ter
from bench.nlg_metrics.meteor_program import meteor, why_not
from bench.nlg_metrics.mteval import bleu, nist

if TYPE_CHECKING:
    import evaluate


def _always() -> None:
    """Give no reason: the metric can be computed anywhere."""


@dataclass(frozen=True)
class TextMetric:
    """One named score of generated text, and what a reader needs to compare two values of it.

    Attributes:
        name: key of the metric in tasks, records and reports.
        function: takes hypotheses and references; returns the score, None where it cannot be had.
        range: lowest and highest possible score.
        higher_is_better: direction of improvement.
        description: one sentence for listings.
        reference: the script whose numbers it gives.
        why_not: returns the reason why it cannot be computed on this machine, None if it can.
    """

    name: str
    function: Callable[[Sequence[str], Sequence[Sequence[str]]], float | None]
    range: tuple[float, float]
    higher_is_better: bool
    description: str
    reference: str
    why_not: Callable[[], str | None] = _always


_ALL = (
    TextMetric(
        name="bleu",
        function=bleu,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="Precision of word 1- to 4-grams, without case, with a brevity penalty.",
        reference="mteval-v13a.pl of tuetschek/e2e-metrics",
    ),
    TextMetric(
        name="nist",
        function=nist,
        range=(0.0, math.inf),
        higher_is_better=True,
        description="Matching word 1- to 5-grams, weighted by their information in bits.",
        reference="mteval-v13a.pl of tuetschek/e2e-metrics",
    ),
    TextMetric(
        name="meteor",
        function=meteor,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="Aligned words, stems, synonyms and paraphrases; needs Java.",
        reference="meteor-1.5.jar as called by coco-caption",
        why_not=why_not,
    ),
    TextMetric(
        name="rouge_l",
        function=rouge_l,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="F measure of the longest common subsequence of words.",
        reference="coco-caption, pycocoevalcap/rouge",
    ),
    TextMetric(
        name="cider",
        function=cider,
        range=(0.0, 10.0),
        higher_is_better=True,
        description="Cosine of word 1- to 4-grams, weighted by their rarity in the references.",
        reference="coco-caption, pycocoevalcap/cider",
    ),
    TextMetric(
        name="ter",
        function=ter,
        range=(0.0, math.inf),
        higher_is_better=False,
        description="Edits and shifts a reference word.",
        reference="sacrebleu.metrics.TER, divided by 100",
    ),
    TextMetric(
        name="chrf",
        function=chrf,
        range=(0.0, 1.0),
        higher_is_better=True,
        description="F measure (beta 2) of character 1- to 6-grams.",
        reference="sacrebleu.metrics.CHRF, divided by 100",
    ),
)

METRICS: Mapping[str, TextMetric] = MappingProxyType({metric.name: metric for metric in _ALL})
"""Every metric of generated text by name, in the order of the field's tables."""


def get(name: str) -> TextMetric:
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
        One score per name, None where the metric's `why_not` gives a reason.

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
    reasons = {name: get(name).why_not() for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def as_evaluate(name: str) -> evaluate.Metric:
    """Wrap a metric for the `evaluate` package, so that both report the same number.

    The wrapper needs no network and holds its inputs in memory; `references` holds a list of texts
    for each prediction. A score that cannot be had is None there.

    Raises:
        ConfigError: There is no such metric.
    """
    # Imported here because the two packages take seconds, and most users never call this.
    import datasets
    import evaluate

    metric = get(name)
    text = datasets.Value("string")

    def info(_self: evaluate.Metric) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=metric.description,
            citation=metric.reference,
            inputs_description="predictions: texts, (n,); references: lists of texts, (n,)",
            features=datasets.Features({"predictions": text, "references": datasets.List(text)}),
        )

    def compute(
        _self: evaluate.Metric, predictions: Any, references: Any
    ) -> dict[str, float | None]:
        return {name: metric.function(list(predictions), list(references))}

    # The package names a module after its class, and `combine` prefixes scores with that name.
    module = type(name, (evaluate.Metric,), {"_info": info, "_compute": compute})
    return module(keep_in_memory=True)
