"""What is known of a metric: its name, what it measures, its range and direction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Measured = Literal["labels", "values", "choices", "tokens", "texts", "spans"]


def _always() -> None:
    """Give no reason: the metric can be computed anywhere."""


@dataclass(frozen=True)
class Metric:
    """One named score, and what a reader needs to know to compare two values of it.

    Attributes:
        name: key of the metric in tasks, records and reports.
        function: returns the score, None or NaN where there is none. What it takes depends on
            `kind`: predictions and references of "labels" and "values", (n,) each; hypotheses and
            lists of references of "texts"; see the functions themselves for the others.
        kind: what the function measures.
        range: lowest and highest possible score.
        higher_is_better: direction of improvement.
        description: one sentence for listings.
        reference: where the definition comes from.
        unsupported_reason: returns the reason why it cannot be computed on this machine, None if it
        can.
    """

    name: str
    function: Callable[..., float | None]
    kind: Measured
    range: tuple[float, float]
    higher_is_better: bool
    description: str
    reference: str
    unsupported_reason: Callable[[], str | None] = _always
