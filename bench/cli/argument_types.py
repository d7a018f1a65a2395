"""Parsers of argument values: from text to a value, or an error with the expected form."""

import argparse
import math
import re

from gapbench.bench.api.choices import PRECISIONS, RETRYABLE

_MOST_DIGITS = 18
_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")
_SECONDS = (86400, 3600, 60, 1)


def names(text: str) -> tuple[str, ...]:
    """Parse names with commas between them."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected names with commas between them")
    return found


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    value = int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else -1
    if value < least:
        raise argparse.ArgumentTypeError(
            f"got {text[:80]!r}, expected a whole number from {least} up, of at most "
            f"{_MOST_DIGITS} digits"
        )
    return value


def number_or_auto(text: str) -> int | None:
    """Parse a whole number of at least 1, with "auto" as None."""
    return None if text == "auto" else positive(text)


def numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers of at least 1 with commas between them."""
    return tuple(positive(part) for part in names(text))


def seconds(text: str) -> float:
    """Parse a number of seconds."""
    value = _number(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected seconds from 0.1 to 86400; put a results folder before it"
        )
    return value


def difference(text: str) -> float:
    """Parse a difference above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0, such as 0.01")
    return value


def multiple(text: str) -> float:
    """Parse a multiple above 0, such as 3x."""
    value = _number(text.removesuffix("x"))
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a multiple above 0, such as 3x")
    return value


def minutes(text: str) -> float:
    """Parse a number of minutes above 0, whole or not."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of minutes above 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # not in any range


def duration(text: str) -> float:
    """Parse a time with units, such as 45m or 1h30m, as seconds."""
    found = _DURATION.fullmatch(text)
    amounts = [int(amount or 0) for amount in found.groups()] if found else []
    total = sum(n * each for n, each in zip(amounts, _SECONDS, strict=False))
    if total < 1:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a time with units d, h, m or s, such as 45m or 1h30m"
        )
    return float(total)


def retryable(text: str) -> tuple[str, ...]:
    """Parse names of statuses that a run can be tried again from."""
    return _some_of(RETRYABLE, text)


def precisions(text: str) -> tuple[str, ...]:
    """Parse precisions with commas between them."""
    return _some_of(PRECISIONS, text)


def _some_of(allowed: tuple[str, ...], text: str) -> tuple[str, ...]:
    given = names(text)
    wrong = [repr(name) for name in given if name not in allowed]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"got {', '.join(wrong)}, expected some of {', '.join(allowed)}"
        )
    return given
