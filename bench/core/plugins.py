"""Methods from outside the package: installed by entry point, or registered by a program.

They are here because both the registry of methods and the hash of the code need them.
"""

import inspect
import linecache
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType
from typing import Any

METHODS = "gapbench.methods"
_KNOWN = {"gapbench", "builtins", "abc", "typing"}  # top packages whose source is not the user's

registered: dict[str, tuple[type[Any], str]] = {}
"""Registered method classes by name, each with its source at the time of registration."""


def method_entry_points() -> Iterable[EntryPoint]:
    """Return the entry points of all installed methods, sorted by name."""
    return sorted(entry_points(group=METHODS), key=lambda entry: entry.name)


def source_of(cls: type) -> str:
    """Return the text of the files, or notebook cells, in which a class and its bases are defined.

    For code typed at the Python prompt there is no text; its compiled form is used.
    """
    bases = (base for base in cls.__mro__ if base.__module__.partition(".")[0] not in _KNOWN)
    return "\n".join(dict.fromkeys(text for base in bases for text in _texts(base)))


def has_file(cls: type) -> bool:
    """Whether another process can import a class: it is neither local nor defined in a notebook."""
    module = sys.modules.get(cls.__module__)
    return "<locals>" not in cls.__qualname__ and bool(getattr(module, "__file__", None))


def _texts(cls: type) -> Iterator[str]:
    if has_file(cls):
        yield Path(inspect.getfile(cls)).read_text(encoding="utf-8")
        return
    for value in vars(cls).values():
        code = getattr(inspect.unwrap(getattr(value, "__func__", value)), "__code__", None)
        if isinstance(code, CodeType):
            lines = linecache.getlines(code.co_filename)
            yield "".join(lines) or f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"
        elif not callable(value):
            yield repr(value)
