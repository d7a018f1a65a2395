"""How data becomes validated objects: frozen models, canonical hashes, YAML files and their errors.

Suites, tasks, run settings and method settings all go through `validate`, so that every invalid
value is reported in the same words: where, what was given, what is allowed.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from bench.errors import ConfigError


class Frozen(BaseModel):
    """An immutable object that refuses unknown fields and numbers that JSON cannot hold."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


Model = TypeVar("Model", bound=BaseModel)


def content_hash(content: object) -> str:
    """Return the SHA-256 of ``content`` as canonical JSON; equal on every machine."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def validate(model: type[Model], content: object, place: str) -> Model:
    """Build ``model`` from plain data.

    Args:
        model: the class to build.
        content: mapping as read from YAML or JSON.
        place: where the data comes from, named first in an error.

    Raises:
        ConfigError: naming every invalid field, the value given and what is allowed.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{place}: expected a mapping of fields, got {_shown(content)}")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [_explain(model, details) for details in error.errors()]
        raise ConfigError(f"{place}: " + "; ".join(lines)) from None


def read_yaml(path: Path) -> Any:
    """Read one YAML file with the safe loader.

    Raises:
        ConfigError: if the file is missing or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def suggest(given: str, allowed: list[str]) -> str:
    """Return a clause that lists what is allowed and, where close, what was probably meant."""
    close = difflib.get_close_matches(given, allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"allowed: {', '.join(sorted(allowed))}{hint}"


def _explain(model: type[BaseModel], details: ErrorDetails) -> str:
    field = ".".join(str(part) for part in details["loc"]) or "(whole)"
    if details["type"] == "extra_forbidden":
        return f"unknown field {field!r}; {_allowed_fields(model, details['loc'])}"
    if details["type"] == "missing":
        return f"field {field!r} is required"
    message = details["msg"].removeprefix("Value error, ")
    return f"field {field!r}: {message}; got {_shown(details['input'])}"


def _allowed_fields(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Follow a location down the nested models, to list the fields of the one at fault."""
    owner: type[BaseModel] = model
    for part in location[:-1]:
        if isinstance(part, str) and part in owner.model_fields:
            owner = _nested_model(owner.model_fields[part].annotation) or owner
    return suggest(str(location[-1]), list(owner.model_fields))


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_nested_model(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model), None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
