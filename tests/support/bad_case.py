"""What can be wrong with a small suite, and the exact message that it gets.

``{suite}``, ``{task}`` and ``{folder}`` stand for the small suite's file, its task's file, and the
folder of the suite. ``gapbench plan`` ends with code 2 and this one line.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.bad_inputs import suite
from tests.support.small_suite import SmallSuite

LONG = "n" * 300
HASH = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Bad:
    """Something wrong, and the message after ``gapbench: error: ``."""

    name: str
    spoil: Callable[[SmallSuite], object]
    message: str
    flags: tuple[str, ...] = ()
    data: bool = True  # whether the folder of rows is given


def budget(**fields: Any) -> Callable[[SmallSuite], object]:
    """Give the suite another budget."""
    return suite(budget={"steps": 4} | fields)


def training(**fields: Any) -> Callable[[SmallSuite], object]:
    """Give the suite other optimiser settings."""
    return suite(training=fields)


def method(name: str = "lora", **fields: Any) -> Callable[[SmallSuite], object]:
    """Make one entry the suite's only method."""
    return suite(methods=[{"method": name} | fields])


def entry(**fields: Any) -> Callable[[SmallSuite], object]:
    """Give the suite's only task more fields."""
    return suite(tasks=[{"task": "animals"} | fields])


def task(**fields: Any) -> Callable[[SmallSuite], object]:
    """Write other fields into the task file."""
    return lambda small: small.write_task(**fields)


def text(content: str | bytes) -> Callable[[SmallSuite], object]:
    """Write something else for the suite file."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda small: small.path.write_bytes(raw)


def pipe(small: SmallSuite) -> None:
    """Put a pipe into the place of the suite file."""
    small.path.unlink()
    os.mkfifo(small.path)


def folder(small: SmallSuite) -> None:
    """Put a folder into the place of the suite file."""
    small.path.unlink()
    small.path.mkdir()


def as_it_is(_: SmallSuite) -> None:
    """Change nothing: the flags are what is wrong."""


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
