"""A verdict as plain data, for programs."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from gapbench.reports.verdict.model import Verdict


def plain(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON holds it: what does not exist or is infinite is None."""
    content: dict[str, Any] = _plain(verdict)
    return content


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        # Pairs of names say themselves what they are of.
        if any(isinstance(name, tuple) for name in value):
            return [_plain(each) for each in value.values()]
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
