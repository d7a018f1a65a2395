"""From a method's name to its class; the only link between the engine and the methods.

Built-in methods are the public modules of the package `methods`; third-party ones come through the
entry-point group ``gapbench.methods``. A name may carry an argument after a colon (``peft:LORA``),
which only its class interprets. Adding a method edits no list.
"""

import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from gapbench.bench.adaptation.method import AnyMethod, Method, MethodConfig
from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.plugins import method_entry_points
from gapbench.bench.core.schema import suggest, validate


@cache
def discover() -> Mapping[str, type[AnyMethod]]:
    """Return every method class by name, built-in ones first.

    Raises:
        ConfigError: if two classes claim one name.
    """
    package = import_module("gapbench.methods")
    modules = [
        import_module(f"gapbench.methods.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    ]
    classes = [cls for module in modules for cls in _methods_in(module)]
    classes += [entry.load() for entry in method_entry_points()]
    found: dict[str, type[AnyMethod]] = {}
    for cls in classes:
        if cls.name in found:
            raise ConfigError(
                f"two methods are called {cls.name!r}: {found[cls.name].__module__} and "
                f"{cls.__module__}; rename one"
            )
        found[cls.name] = cls
    return dict(sorted(found.items()))


def get(name: str) -> type[AnyMethod]:
    """Return the class of a method.

    Raises:
        ConfigError: if there is none of that name.
    """
    known = discover()
    base = name.partition(":")[0]
    if base not in known:
        raise ConfigError(f"unknown method {name!r}; {suggest(base, list(known))}")
    known[base].check_name(name)
    return known[base]


def resolve_config(name: str, config: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a method's complete settings as plain data: defaults with ``config`` laid over them.

    Raises:
        ConfigError: naming the invalid field and its legal range.
    """
    try:
        cls = get(name)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    return validate(cls.Config, config, place).model_dump(mode="json")


def of_cell(cell: Cell) -> tuple[type[AnyMethod], MethodConfig]:
    """Return the class of a cell's method, and the cell's settings as an object of its `Config`.

    Raises:
        ConfigError: if there is no such method.
    """
    method = get(cell.method)
    return method, _config(method, cell)


@cache
def _config(method: type[AnyMethod], cell: Cell) -> MethodConfig:
    return method.Config.model_validate(cell.config)


def _methods_in(module: Any) -> list[type[AnyMethod]]:
    return [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Method)
        and not inspect.isabstract(cls)
        and cls.__module__ == module.__name__
    ]
