"""Metrics by name: each is declared where it is computed, and found in the modules of this package.

A new metric is one function in one file, under the decorator `metric`; there is no list to edit.
"""

import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from importlib import import_module
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.metrics.influence import grouped_jackknife

_PACKAGE = "gapbench.bench.metrics"
MEASURED: Mapping[str, str] = MappingProxyType(
    {
        "labels": "predicted and true classes, (n,) each",
        "values": "predicted and true values, (n,) each",
        "parts": "predicted and true classes, and names of parts, (n,) each",
        "choices": "log-likelihoods and lengths of choices, (n, choices) each; right ones, (n,)",
        "tokens": "loss, confidence and correctness of each target token, (n,) each",
        "texts": "written texts; lists of reference texts",
        "spans": "answers; lists of accepted answers; version of SQuAD",
    }
)
"""Quantities that metrics may measure, with their functions' arguments, in listing order."""

_PAIRED = frozenset({"labels", "values", "parts"})  # one prediction and one reference per example

Inputs = Mapping[str, tuple[Any, ...] | None]
"""Arguments of metrics by quantity measured; None if they hold NaN, so that no score exists."""

Array = NDArray[Any]
Floats = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., float | None])


def _always() -> None:
    """Give no reason: the metric can be computed anywhere."""


def no_items(*_: Any) -> None:
    """Give no values: for a metric without a known contribution of each example."""


@dataclass(frozen=True)
class Metric:
    """One named score, with the facts needed to compare two of its values.

    Attributes:
        name: key of the metric in tasks, records and reports.
        function: returns the score, None or NaN if undefined.
        measures: quantity that the function compares; `MEASURED` lists its arguments.
        range: lowest and highest possible score.
        higher_is_better: direction of improvement.
        description: one sentence for listings.
        title: what reports call it; "" if that is its name, with spaces.
        reference: source of the definition.
        unsupported_reason: returns the reason why it cannot be computed on this machine, None if
            it can.
        items: takes the arguments of ``function`` and returns pseudo-values, `(n,)`,
            whose mean is the score (see `bench.metrics.influence`). Without it, groups of examples
            are left out in turn, which computes the metric a hundred times; `no_items` declares
            that there are none.
    """

    name: str
    function: Callable[..., float | None]
    measures: str
    description: str
    reference: str
    title: str = ""
    range: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    unsupported_reason: Callable[[], str | None] = _always
    items: Callable[..., Floats | None] | None = None

    def pseudovalues(self, *arguments: Any) -> Floats | None:
        """Return the contribution of each entry of the arguments to the score, None if unknown.

        The values are finite and their mean is the score.
        """
        if self.items is not None:
            values = self.items(*arguments)
        elif self.measures == "tokens":  # tokens are not the sampled unit
            values = None
        else:
            values = grouped_jackknife(self.function, arguments)
        return values if values is not None and np.isfinite(values).all() else None


_declared: dict[str, Metric] = {}


def metric(name: str, measures: str, **facts: Any) -> Callable[[Function], Function]:
    """Declare the decorated function as a metric; see `Metric` for the facts.

    Predictions and references that do not pair up are refused before the function sees them.

    Raises:
        ConfigError: Another metric has the name.
    """

    def declare(function: Function) -> Function:
        if name in _declared and _declared[name].function.__module__ != function.__module__:
            raise ConfigError(
                f"two metrics are called {name!r}: in {_declared[name].function.__module__} and "
                f"{function.__module__}; rename one"
            )
        checked = _of_pairs(function) if measures in _PAIRED else function
        _declared[name] = Metric(name, checked, measures, **facts)
        return checked

    return declare


def _of_pairs(function: Function) -> Function:
    @wraps(function)
    def checked(predictions: Array, references: Array, *others: Array) -> float | None:
        check_pair(predictions, references)
        return function(predictions, references, *others)

    return cast("Function", checked)


def check_pair(predictions: Array, references: Array) -> None:
    """Check that each example has one prediction and one reference.

    Raises:
        DataError: The two are empty, not flat, or of different lengths.
    """
    if predictions.ndim != 1 or predictions.shape != references.shape or not len(predictions):
        raise DataError(
            f"metric inputs: predictions have shape {predictions.shape} and references "
            f"{references.shape}; give two flat arrays of the same length, at least 1"
        )


@cache
def discover() -> Mapping[str, Metric]:
    """Return every metric by name, ordered by what they measure."""
    for info in pkgutil.walk_packages(import_module(_PACKAGE).__path__, f"{_PACKAGE}."):
        import_module(info.name)
    order = list(MEASURED)

    def place(found: Metric) -> tuple[int, str]:
        known = found.measures in order
        return order.index(found.measures) if known else len(order), found.function.__module__

    return MappingProxyType({each.name: each for each in sorted(_declared.values(), key=place)})


@cache
def metric_in_words(name: str) -> str:
    """Return the title of a metric for readers; of one that is not here, its name."""
    metric = discover().get(name)
    return (metric and metric.title) or name.replace("_", " ")


def get(name: str) -> Metric:
    """Return the metric called `name`.

    Raises:
        ConfigError: There is no such metric.
    """
    if name not in discover():
        raise ConfigError(f"metric: {name!r} is unknown; use one of {', '.join(discover())}")
    return discover()[name]


def compute(names: Sequence[str], inputs: Inputs) -> dict[str, float | None]:
    """Return the named scores, None where a score is undefined.

    Raises:
        ConfigError: A name is unknown, or its metric measures something else.
        DataError: The inputs do not pair up.
    """
    return {name: _score(get(name), inputs) for name in names}


def _score(metric: Metric, inputs: Inputs) -> float | None:
    if metric.measures not in inputs:
        fitting = [each.name for each in discover().values() if each.measures in inputs]
        raise ConfigError(
            f"metric {metric.name}: compares {metric.measures}, but the inputs are only "
            f"{' and '.join(inputs)}; use one of {', '.join(fitting)}"
        )
    arguments = inputs[metric.measures]
    return None if arguments is None else defined(metric.function(*arguments))


def defined(value: float | None) -> float | None:
    """Return a score, None if it is not a finite number."""
    return value if value is not None and math.isfinite(value) else None
