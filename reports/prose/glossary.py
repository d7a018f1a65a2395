"""The statistical terms and the metrics that a report uses, a sentence for each."""

import re
from collections.abc import Collection, Mapping

from gapbench.bench.metrics.base import discover, metric_in_words

_TERMS: Mapping[str, str] = {
    "score": "The main metric on test items that no training and no choice has used, mean over "
    "seeds.",
    "accuracy": "The share of test items that are answered rightly.",
    "generalization gap": "Train score minus test score, turned round where lower is better: how "
    "much better a model does on what it has seen.",
    "calibration error (ECE)": "How far stated confidence and the share of right answers lie "
    "apart, averaged over 15 groups of confidence.",
    "floor": "Of the calibration error: what a perfectly calibrated model would show by chance on "
    "so few items.",
    "classwise": "The calibration error of the probabilities of all classes, not only of the "
    "answer.",
    "reliability diagram": "Shares of right answers over stated confidence: on the diagonal the "
    "two agree, below it a model is overconfident.",
    "temperature scaling": "Dividing a model's outputs by a number, fitted on validation, so that "
    "its confidence fits; above 1 the model was overconfident.",
    "Brier score": "The mean squared error of the stated probabilities; lower is better.",
    "NLL": "Negative log-likelihood: how little probability a model gave to the right answers, "
    "on a logarithmic scale; lower is better.",
    "reference": "The method that all others are compared with, plain LoRA unless the suite names "
    "another.",
    "seed": "A number that fixes all chance in a training run; several seeds show how far chance "
    "moves the result.",
    "collapsed": "Said of seeds that lie far below the others of their row, as where training fell "
    "back to guessing.",
    "checkpoint": "The state of a model at a step of training; scores are of the one that "
    "validation chose, unless the protocol says otherwise.",
    "median": "The value in the middle: as many others lie above it as below.",
    "95 % interval": "A range that holds the true value in 95 of 100 such studies.",
    "all comparisons together": "Intervals of differences are wide enough that in 95 of 100 such "
    "studies not one of them misses the true difference.",
    "shown to be better": "The whole interval of the difference lies on the better side of zero.",
    "no difference shown": "The interval of the difference includes zero: the data fit either "
    "order, which is not proof that the methods are equal.",
    "unbeaten": "No other method is shown to be better in score.",
    "ruled out": "A difference this large does not fit the data, with 95 % confidence.",
    "underpowered": "Too few data to tell whether there is no difference or one that matters.",
    "untuned": "The model as it is before any training, with a new head.",
    "majority": "Answers the most frequent class of the training set, or the mean, whatever it is "
    "asked.",
    "backbone": "The pretrained model, whose own weights stay frozen in all but full fine-tuning.",
    "rank": "Width of the small matrices that an adapter trains in each layer: more rank, more "
    "trained numbers.",
    "alpha": "Factor of an adapter's change to the weights, divided by the rank.",
    "learning rate": "Size of the steps of training.",
    "targets": "Layers that get an adapter; by default the query and value projections of the "
    "attention.",
    "passes": "Times that the model is run on each test item; ensembles take several.",
    "training cost": "Floating-point operations of training, which do not depend on the machine.",
    "peak memory": "The most memory in use at once; runs that train together share it.",
}
_METRICS = {
    metric_in_words(name): metric.description
    for name, metric in discover().items()
    if name not in _TERMS
}
GLOSSARY: Mapping[str, str] = {**_TERMS, **_METRICS}
"""Each term in the form that the page lists, with its explanation."""

_FORMS: Mapping[str, str] = {
    "score": "scores?",
    "accuracy": "accuracy",
    "generalization gap": "generalization gap",
    "calibration error (ECE)": r"calibration error(?: \(ECE\))?|ECE",
    "floor": "floor",
    "classwise": "classwise",
    "reliability diagram": "reliability diagrams?",
    "temperature scaling": "temperature scaling",
    "Brier score": "Brier(?: score)?",
    "NLL": "NLL",
    "reference": "reference(?!/)",
    "seed": "seeds?",
    "collapsed": "collapsed?",
    "checkpoint": "checkpoints?",
    "median": "median",
    "95 % interval": r"95\s% (?:interval|confidence)",
    "all comparisons together": "all comparisons (?:taken )?together",
    "shown to be better": "shown to (?:be better|beat)",
    "no difference shown": "no difference (?:is )?shown",
    "unbeaten": "unbeaten",
    "ruled out": "rules? out|ruled out",
    "underpowered": "underpowered",
    "untuned": "untuned",
    "majority": "majority",
    "backbone": "backbones?",
    "rank": "rank",
    "alpha": "alpha(?! hat)",
    "learning rate": "learning rates?",
    "targets": "targets",
    "passes": "(?:inference |forward )?passes",
    "training cost": "training cost|FLOPs",
    "peak memory": "peak memory",
    **{name: re.escape(name) for name in _METRICS},
}
PATTERN = re.compile(
    "|".join(
        rf"(?<!-)(?<!/)(?<!/ )(?P<t{place}>\b(?:{form}))(?!\w)"
        for place, form in enumerate(_FORMS.values())
    ),
    re.IGNORECASE,
)
"""Finds a term in a text, not in an option such as --seeds, a path or the name of a variant.

`term_of` says which one.
"""


def glossary(metrics: Collection[str]) -> dict[str, str]:
    """Return the terms of a report whose scores are these metrics."""
    used = {*_TERMS, *map(metric_in_words, metrics)}
    return {term: said for term, said in GLOSSARY.items() if term in used}


def term_of(found: re.Match[str]) -> str:
    """Return the term of a match of `PATTERN`."""
    return list(_FORMS)[int((found.lastgroup or "t0")[1:])]


def anchor(term: str) -> str:
    """Return the name under which the page lists a term."""
    return "term-" + re.sub(r"[^a-z]+", "-", term.lower()).strip("-")
