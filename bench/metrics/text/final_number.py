"""Exact match of the number that an answer ends with, as lm-evaluation-harness scores GSM8K."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.metrics.base import metric
from gapbench.bench.metrics.text.inputs import checked

_REFERENCE = "filters {} of gsm8k.yaml, version 3, of lm-evaluation-harness"
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_IGNORED = [re.compile(form) for form in (",", r"\$", r"(?s).*#### ", r"\.$")]
_NONE = "[invalid]"


def _strict(answer: str) -> str:
    """Return the first number after ``####``."""
    found = _STRICT.search(answer)
    return str(found[1]) if found else _NONE


def _flexible(answer: str) -> str:
    """Return the last number, whatever stands before it."""
    return str([_NONE, *_FLEXIBLE.findall(answer)][-1]).strip()


def _plain(number: str) -> str:
    for form in _IGNORED:
        number = form.sub("", number)
    return number.lower()


def _matches(
    name: str,
    number: Callable[[str], str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
) -> NDArray[np.float64]:
    """Return 1 for each example whose number is that of a reference, else 0, `(n,)`."""
    texts = checked(name, hypotheses, references)
    pairs = zip(map(number, hypotheses), texts, strict=True)
    return np.array([_plain(own) in set(map(_plain, each)) for own, each in pairs], dtype=float)


_strict_items = partial(_matches, "final_number", _strict)
_flexible_items = partial(_matches, "final_number_flexible", _flexible)


@metric(
    "final_number",
    "texts",
    description="Share of answers whose number after #### is that of a reference.",
    reference=_REFERENCE.format("strict-match"),
    items=_strict_items,
)
def final_number(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the share of answers whose first number after ``####`` is that of a reference.

    Commas, dollar signs and a final full stop do not count. A reference is the text after its last
    ``####``, or all of it.

    Args:
        hypotheses: one output per example.
        references: one or more texts per example; blank ones are ignored.

    Raises:
        DataError: See `bench.metrics.text.inputs.checked`.

    Source: Cobbe et al. 2021, GSM8K; lm-evaluation-harness, ``gsm8k.yaml``, filter strict-match.
    """
    return float(_strict_items(hypotheses, references).mean())


@metric(
    "final_number_flexible",
    "texts",
    title="last number",
    description="Share of answers whose last number is that of a reference.",
    reference=_REFERENCE.format("flexible-extract"),
    items=_flexible_items,
)
def final_number_flexible(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the share of answers whose last number is that of a reference; see `final_number`.

    Source: lm-evaluation-harness, ``gsm8k.yaml``, filter flexible-extract.
    """
    return float(_flexible_items(hypotheses, references).mean())
