"""Every error that gapbench raises on purpose, each built on the nearest standard exception.

A message names the place (file and field), what was given, what is allowed and the way out, so
that the command line can print it alone, without a traceback.
"""


class BenchError(Exception):
    """Base of all errors that a user can act on; the message is made one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines() if line.strip()))


class ConfigError(BenchError, ValueError):
    """A suite, task, method configuration or flag is invalid."""


class DataError(BenchError, ValueError):
    """A data set is missing, incomplete or contradicts its task."""


class BackboneError(BenchError, ValueError):
    """A backbone cannot be loaded, or does not fit what is asked of it."""


class StoreError(BenchError, OSError):
    """A results folder cannot be read or written."""


class SettledError(StoreError):
    """A finished run would be written again."""


class RecordError(BenchError, ValueError):
    """A stored record is unreadable or of an unknown schema."""


class SealedError(BenchError, PermissionError):
    """Something asked for the test split while settings are tuned."""


class DivergedError(BenchError, ArithmeticError):
    """A run's loss or gradient stopped being a finite number."""


class MergeError(BenchError, TypeError):
    """A trained run cannot be written as plain weights, or not in the format asked for."""
