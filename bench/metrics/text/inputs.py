"""What every generation metric asks of its inputs, checked in one place.

How a metric cuts or compares text is in its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import TypeVar

from gapbench.bench.core.errors import DataError

_SPLITS = 4  # whose texts are remembered: train, validation, test and one more

Hypotheses = tuple[str, ...]
References = tuple[tuple[str, ...], ...]
Made = TypeVar("Made")


def remembered(
    metric: str,
) -> Callable[
    [Callable[[Hypotheses, References], Made]],
    Callable[[Sequence[str], Sequence[Sequence[str]]], Made],
]:
    """Let a function see texts that `checked` has passed, and remember what it made of the last.

    A score, and what each example adds to it, are asked for in turn and need the same counts.

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
    """Return the references of each example without blank ones.

    The reference scripts take a blank reference for padding, where examples have different numbers
    of them. A blank hypothesis is an answer like any other.

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
                f"metric {metric}: example {index} has {len(texts)} references, none of which "
                f"holds text; give at least 1, or leave the example out"
            )
    return kept
