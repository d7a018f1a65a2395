"""Checks of the inputs of all generation metrics.

Each metric's file holds its own splitting and comparison of text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import TypeVar

from gapbench.bench.core.errors import DataError

_SPLITS = 4  # number of splits with remembered texts: train, validation, test and one more

Hypotheses = tuple[str, ...]
References = tuple[tuple[str, ...], ...]
Made = TypeVar("Made")


def remembered(
    metric: str,
) -> Callable[
    [Callable[[Hypotheses, References], Made]],
    Callable[[Sequence[str], Sequence[Sequence[str]]], Made],
]:
    """Give a function only texts that `checked` accepted, and cache its latest results.

    A score and the contribution of each example are requested in turn and need the same counts.

    Args:
        metric: name of the metric, for messages.
    """

    def wrap(
        function: Callable[[Hypotheses, References], Made],
    ) -> Callable[[Sequence[str], Sequence[Sequence[str]]], Made]:
        known = lru_cache(maxsize=_SPLITS)(function)

        @wraps(function)
        def count(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Made:
            texts = checked(metric, hypotheses, references)
            return known(tuple(hypotheses), tuple(map(tuple, texts)))

        return count

    return wrap


def checked(
    metric: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Return the non-blank references of each example.

    The reference scripts treat a blank reference as padding for examples with fewer references. A
    blank hypothesis is an answer like any other.

    Args:
        metric: name of the metric, for messages.
        hypotheses: one output per example.
        references: one or more texts per example, in the order of the hypotheses.

    Raises:
        DataError: There is no example, the two differ in length, or an example has no reference.
    """
    if not len(hypotheses) or len(hypotheses) != len(references):
        raise DataError(
            f"metric {metric}: given {len(hypotheses)} hypotheses and references for "
            f"{len(references)} examples; give one hypothesis per example, for at least 1 example"
        )
    kept = []
    for index, texts in enumerate(references):
        if isinstance(texts, str):
            raise DataError(
                f"metric {metric}: references of example {index} are the single text "
                f"{texts[:40]!r}; give a list of texts for each example"
            )
        kept.append([text for text in texts if text.strip()])
        if not kept[-1]:
            raise DataError(
                f"metric {metric}: example {index} has {len(texts)} references, but none of "
                f"them holds text; give at least 1, or leave the example out"
            )
    return kept
