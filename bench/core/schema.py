"""Validation: frozen models, canonical hashes, and error messages.

Suites, tasks, run settings and method settings all go through `validate`, so every invalid value
is reported in the same words: the place, the given value, the allowed values.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from gapbench.bench.core.errors import ConfigError, RecordError
from gapbench.bench.core.safe_parsing import parse_json


class FrozenModel(BaseModel):
    """An immutable object that refuses unknown fields and numbers that JSON cannot hold."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


def _shows(text: str) -> str:
    if not text.isprintable():
        raise ValueError("may hold no control characters and no line breaks")
    return text


def matching(pattern: str, rule: str) -> AfterValidator:
    """Return a validator that a pattern must match as a whole; its error states the rule."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(rule)
        return text

    return AfterValidator(check)


DisplayName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_shows)]
"""A label that is safe to show, in terminals too."""
PathStr = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_shows)]
"""A file or folder, or a name used in place of one, such as a hub id."""
Name = Annotated[
    str,
    Field(max_length=100),
    matching(
        r"[A-Za-z0-9][\w.-]*",
        "may hold letters, digits, _ . and -, and begins with a letter or digit",
    ),
]
"""The name of a thing in suites, tables and folders."""

Model = TypeVar("Model", bound=BaseModel)
_WORDS = {"tuple_type": "should be a list", "model_type": "should be a mapping of fields"}
"""Messages by kind of error, in place of the validator's, which are about Python."""
_MOST_ERRORS = 10  # of one file in one message


def content_hash(content: object) -> str:
    """Return the SHA-256 of ``content`` as canonical JSON; equal on every machine."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def validate(model: type[Model], content: object, place: str) -> Model:
    """Build ``model`` from plain data.

    Args:
        model: the class to build.
        content: mapping as read from YAML or JSON.
        place: source of the data, named first in an error.

    Raises:
        ConfigError: naming every invalid field, the value given and what is allowed.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{place}: expected a mapping of fields, got {_shown(content)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = _causes(error.errors())
        lines = [_explain(model, details) for details in found[:_MOST_ERRORS]]
        lines += [f"and {len(found) - _MOST_ERRORS} more"] if len(found) > _MOST_ERRORS else []
        raise ConfigError(f"{place}: " + "; ".join(lines)) from None


def changed(content: Model, changes: Mapping[str, Any], place: str) -> Model:
    """Return a validated object with other values for some of its fields.

    Raises:
        ConfigError: as `validate` does.
    """
    return validate(type(content), dict(content) | dict(changes), place) if changes else content


def read_versioned(
    path: Path, model: type[Model], version: int, *, damaged: str, foreign: str
) -> Model:
    """Read a JSON file that states its ``schema_version``.

    Args:
        path: the file.
        model: class of its content.
        version: the only one that is read.
        damaged: the way out if the file is damaged.
        foreign: the way out if it is of another version.

    Raises:
        RecordError: if the file is truncated, of another version, or does not fit the model.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise RecordError(f"{path}: truncated or not JSON; {damaged}") from None
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != version:
        raise other_version(path, found, version, foreign)
    try:
        return validate(model, content, str(path))
    except ConfigError as error:
        raise RecordError(f"{error}; {damaged}") from None


def other_version(path: Path, found: object, version: int, remedy: str) -> RecordError:
    """Return the error for a file of another schema version."""
    return RecordError(
        f"{path}: field 'schema_version' is {found!r}, this version reads {version}; {remedy}"
    )


def suggest(given: str, allowed: list[str]) -> str:
    """Return a clause that lists the allowed values and, if one is close, suggests it."""
    close = difflib.get_close_matches(given, allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"allowed: {', '.join(sorted(allowed))}{hint}"


def _causes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out errors that only follow from one inside the field, or in what its default needs."""
    errors = [details for details in errors if details["type"] != "default_factory_not_called"]
    outer = {place["loc"][:depth] for place in errors for depth in range(len(place["loc"]))}
    return [details for details in errors if not details["loc"] or details["loc"] not in outer]


def _explain(model: type[BaseModel], details: ErrorDetails) -> str:
    field = _cut(".".join(str(part) for part in details["loc"]))
    if details["type"] == "extra_forbidden":
        return f"unknown field {field!r}; {_allowed_fields(model, details['loc'])}"
    if details["type"] == "missing":
        return f"field {field!r} is required"
    message = _WORDS.get(details["type"], details["msg"].removeprefix("Value error, "))
    if not details["loc"]:
        return message  # of fields that contradict each other, which it names
    return f"field {field!r}: {message}; got {_shown(details['input'])}"


def _allowed_fields(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Follow a location down the nested models, to list the fields of the one at fault."""
    owner: type[BaseModel] = model
    for part, following in pairwise(location):
        if isinstance(part, str) and part in owner.model_fields:
            nested = list(_nested_models(owner.model_fields[part].annotation))
            # One of several models is recognised by a field that only it has.
            told = [inner for inner in nested if following in inner.model_fields]
            owner = next(iter([*told, *nested]), owner)
    return suggest(str(location[-1]), list(owner.model_fields))


def _nested_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _nested_models(part)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than some thousand digits
        text = "a number of thousands of digits"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def laid_over(content: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with some values replaced; mappings are merged field by field."""
    changed = {
        name: laid_over(content[name], value)
        if isinstance(value, Mapping) and isinstance(content.get(name), Mapping)
        else value
        for name, value in change.items()
    }
    return {**content, **changed}
