"""Metrics as modules of the `evaluate` package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.metrics.base import MEASURED, get

if TYPE_CHECKING:
    import evaluate

_TYPES: dict[str, str] = {
    "labels": "int64",
    "values": "float64",
    "texts": "string",
    "spans": "string",
}


def as_evaluate(name: str) -> evaluate.Metric:
    """Wrap the metric `name` for the `evaluate` package, so that both report the same number.

    The wrapper needs no network and holds its inputs in memory. It is an ordinary module of that
    package: `compute(predictions=..., references=...)`, `add_batch` and `evaluate.combine` work.
    For texts and spans, `references` holds a list of texts for each prediction. Further
    arguments of the metric's function, such as the version of SQuAD, go to `compute`. An undefined
    score is NaN, or None for texts, as the function returns it.

    Raises:
        ConfigError: There is no such metric, or it measures a model's outputs for given tokens or
            choices.
    """
    metric = get(name)
    if metric.measures not in _TYPES:
        raise ConfigError(
            f"metric {name}: measures {metric.measures}, which the `evaluate` package cannot pass "
            f"on; wrap a metric of {', '.join(_TYPES)}"
        )
    # Imported here because both packages take seconds to load, and most users never call this.
    import datasets
    import evaluate

    value = datasets.Value(_TYPES[metric.measures])
    texts = _TYPES[metric.measures] == "string"
    reference = datasets.List(value) if texts else value
    read: Callable[[Any], Any] = list if texts else np.asarray

    def info(_self: evaluate.Metric) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=metric.description,
            citation=metric.reference,
            inputs_description=f"predictions and references: {MEASURED[metric.measures]}",
            features=datasets.Features({"predictions": value, "references": reference}),
        )

    def compute(
        _self: evaluate.Metric, predictions: Any, references: Any, **settings: Any
    ) -> dict[str, float | None]:
        return {metric.name: metric.function(read(predictions), read(references), **settings)}

    # The package names a module after its class, and `combine` prefixes scores with that name.
    module = type(metric.name, (evaluate.Metric,), {"_info": info, "_compute": compute})
    return module(keep_in_memory=True)
