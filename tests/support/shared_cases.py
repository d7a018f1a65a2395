"""What tests of the cases in `../shared` share; the fixtures are those of `tests/integration`."""

from collections.abc import Callable
from pathlib import Path

from tests.support.small_suite import Answer

Command = Callable[[str], Answer]
"""Calls a command as it is typed."""

Copied = Callable[[str], Path]
"""Copies the files of a case and works beside them."""
