"""YAML and JSON text from files that others may have written: read as plain data, within limits.

A short file can describe a huge structure: lists nested thousands deep, or aliases of aliases that
grow tenfold with every line. Both are measured before anything is built.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gapbench.bench.core.errors import ConfigError

MOST_BYTES = 1_000_000
"""Size of a YAML file, or of a JSON file of settings."""
MOST_LEVELS = 50
"""Nested lists and mappings."""
MOST_VALUES = 200_000
"""Values of a YAML file; values behind an alias count at every use of the alias."""

_PLAIN = {
    "bool": re.compile(r"(true|True|TRUE|false|False|FALSE)$"),
    "int": re.compile(r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+)$"),
}
"""What is no text although it has no quotes, beside null and numbers with a point."""
_YAML_1_1 = {*_PLAIN, "timestamp"}


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses equal keys; by itself it lets the later one win.

    Names stay text: `no`, `012`, `12:30` and dates are not the bools, numbers and dates that YAML
    1.1 makes of them.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    line = key.start_mark.line + 1 if key.start_mark else "?"
                    raise yaml.YAMLError(f"{key.value!r} appears twice, again in line {line}")
                seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] not in _YAML_1_1]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)


def read_yaml(path: Path) -> Any:
    """Read one YAML file with the safe loader.

    Raises:
        ConfigError: if the file is missing, is not YAML, or is larger than the limits.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read: {cause}") from None
    try:
        _measure(yaml.parse(text, Loader=yaml.SafeLoader))
        return _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {_told(error)}") from None
    # The library raises these for a tag that does not fit its value, such as `!!bool maybe`.
    except (ValueError, LookupError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"{path}: not valid YAML: a value does not fit its type: {error}"
        ) from None


def _told(error: yaml.YAMLError) -> str:
    """Return the error of the library, with its place, in one line."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"{error.reason} at character {error.position}: {chr(error.character)!r}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error)
    what = ", ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    return f"{what}, line {mark.line + 1}, column {mark.column + 1}" if mark else what


def read_text(path: Path) -> str:
    """Return the text of a file that should be small.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is larger than `MOST_BYTES`, or not UTF-8.
    """
    if path.exists() and not path.is_file():
        raise OSError(None, "it is no regular file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES:,} bytes, the most that is read")
    return content.decode("utf-8-sig")


def parse_json(text: str) -> Any:
    """Return the content of a JSON text.

    Raises:
        ValueError: if it is not JSON, deeper than `MOST_LEVELS`, or names a key twice.
    """
    too_deep = ValueError(f"nested deeper than {MOST_LEVELS} levels")
    try:
        content = json.loads(text, object_pairs_hook=_distinct)
    except RecursionError:
        raise too_deep from None
    level: list[Any] = [[content]]
    for _ in range(MOST_LEVELS + 1):
        level = _inside(level)
        if not level:
            return content
    raise too_deep


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping; the library by itself lets the later one of equal keys win."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{doubled!r} appears twice")
    return made


def _inside(level: list[Any]) -> list[Any]:
    """Return the lists and mappings directly inside lists and mappings."""
    return [
        inner
        for outer in level
        for inner in (outer.values() if type(outer) is dict else outer)
        if type(inner) is dict or type(inner) is list
    ]


def _measure(events: Iterator[yaml.Event]) -> None:
    """Refuse a file that is too deep or, with its aliases written out, too large.

    Raises:
        YAMLError: naming the line.
    """
    sizes: dict[str, int] = {}  # of the node that an anchor names, once it is complete
    open_parts: list[tuple[str | None, int]] = []  # anchor, and values seen before it
    count = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_parts.pop()
            if anchor is not None:
                sizes[anchor] = count - before
        elif isinstance(event, yaml.NodeEvent):
            count += _size(event, sizes)
            if isinstance(event, yaml.CollectionStartEvent):
                open_parts.append((event.anchor, count - 1))
            elif isinstance(event, yaml.ScalarEvent) and event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_parts) > MOST_LEVELS:
            raise _too_much(event, f"nested deeper than {MOST_LEVELS} levels")
        if count > MOST_VALUES:
            raise _too_much(event, f"more than {MOST_VALUES:,} values with its aliases written out")


def _size(event: yaml.NodeEvent, sizes: Mapping[str, int]) -> int:
    """Return the number of values of an event."""
    if not isinstance(event, yaml.AliasEvent):
        return 1
    anchor = str(event.anchor)
    if anchor not in sizes:
        raise _too_much(event, f"alias {anchor!r} refers to nothing that is complete")
    return sizes[anchor]


def _too_much(event: yaml.Event, what: str) -> yaml.YAMLError:
    where = f", line {event.start_mark.line + 1}" if event.start_mark else ""
    return yaml.YAMLError(f"{what}{where}")
