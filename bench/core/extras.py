"""Modules whose package comes with an extra of gapbench."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from gapbench.bench.core.errors import ConfigError


def import_extra(module: str, asked_by: str, extra: str) -> ModuleType:
    """Import a module of gapbench, named by its dotted path; see `needs_extra`."""
    with needs_extra(asked_by, extra):
        return import_module(module)


@contextmanager
def needs_extra(asked_by: str, extra: str) -> Iterator[None]:
    """Say which extra to install where an import inside the block finds no package.

    Args:
        asked_by: the option that asked for it, which begins the error message.
        extra: name of the extra.

    Raises:
        ConfigError: if the package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("gapbench"):
            raise
        raise ConfigError(
            f"{asked_by}: the package {error.name.partition('.')[0]!r} is not installed; "
            f"install it with: pip install 'gapbench[{extra}]'"
        ) from None
