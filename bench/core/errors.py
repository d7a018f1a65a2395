"""The errors that gapbench raises on purpose, each derived from the nearest standard exception.

A message names the place (file and field), the given value, the allowed values and the way out.
The command line can therefore print it alone, without a traceback.
"""

import re

# Behind a user's name up to the last @, since users forget to escape one, with or without a scheme;
# no file of SQLite or of a journal is meant. Without any @, what is no port. Or an option's value,
# inside another option's too.
# A web address may have a token in place of name and password.
# Each alternative has two groups: before the password, and the password.
_PASSWORD = re.compile(
    r"(^(?:--[\w-]+=)?(?!journal:|sqlite(?:\+\w+)?:///)(?:https?://(?=[^/?]*@)|[^:@]*://[^:]*:|[^:]*:(?!//)))"
    r"(.+)(?=@)"
    r"|(://[^:/]*:)(?!\d*(?:[/?]|$))([^/?]+)"
    r"|((?:pass\w*|pwd|secret\w*|token\w*)(?:=|%3D))([^&]+)",
    re.IGNORECASE | re.DOTALL,
)
# The same in the middle of a text, where only whole URLs and their options are surely meant.
_CREDENTIALS = re.compile(
    r"(\w://[^\s:/@]*:)\S+(?=@)|(?:(?<=https)|(?<=http))(://)[^\s:/?@]+(?=@)"
    r"|([?&;]\w*(?:pass\w*|pwd|secret\w*|token\w*|api_?key)=)[^\s&;'\"]+",
    re.IGNORECASE,
)


class BenchError(Exception):
    """Base of all errors that a user can act on.

    The message becomes one line that is safe to print, since it may quote any text from a file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """Return any text as one line that is safe to print: no escapes, no passwords of URLs."""
    lines = (line.strip() for line in without_credentials(text).splitlines())
    return printable(" ".join(filter(None, lines)))


def printable(text: str) -> str:
    """Return a text with escape sequences written out instead of sent to a terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def without_password(word: str) -> str:
    """Return a word of a command line, such as a URL, without passwords, for messages and logs."""
    return _PASSWORD.sub(lambda found: "".join(filter(None, found.group(1, 3, 5))) + "***", word)


def without_credentials(text: str) -> str:
    """Return a text without the passwords of URLs in it, which libraries repeat in their errors."""
    return _CREDENTIALS.sub(lambda found: "".join(filter(None, found.groups())) + "***", text)


def passwords(url: str) -> list[str]:
    """Return what `without_password` hides of a URL."""
    return ["".join(filter(None, found.group(2, 4, 6))) for found in _PASSWORD.finditer(url)]


class ConfigError(BenchError, ValueError):
    """A suite, task, method configuration or flag is invalid."""


class DataError(BenchError, ValueError):
    """A data set is missing, incomplete or contradicts its task."""


class BackboneError(BenchError, ValueError):
    """A backbone cannot be loaded, or does not fit the task."""


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


class StartError(BenchError, ArithmeticError):
    """An adapted model does not begin as the backbone that it adapts."""


class MergeError(BenchError, TypeError):
    """A trained run cannot be written as plain weights, or not in the format asked for."""


class TrackerError(BenchError, RuntimeError):
    """A tracker did not take a run."""
