"""A call of the Python API as code, as logs and plans keep it."""

from collections.abc import Callable, Mapping
from inspect import signature
from os import PathLike
from typing import Any


def spelled(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """Return a call as Python code, without default values."""
    usual = {name: each.default for name, each in signature(function).parameters.items()}
    plain = {n: str(each) if isinstance(each, PathLike) else each for n, each in given.items()}
    first, *_ = usual  # the suite, or what it is made of
    suite = repr(plain[first]) if isinstance(plain[first], str) else first
    others = [
        f"{name}={value!r}"
        for name, value in plain.items()
        if name not in {first, "retry", "progress"} and repr(value) != repr(usual.get(name, value))
    ]
    return f"gapbench.{function.__name__}({', '.join([suite, *others])})"
