"""Maps a method's name to its class; the only link between the engine and the methods.

Built-in methods are the public modules of the package `methods`. Those of other packages come
through the entry-point group ``gapbench.methods``, those of a script or notebook through
`register`. A name may carry an argument after a colon (``peft:LORA``), which only its class
interprets. Adding a method edits no list.
"""

import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from pydantic import BaseModel

from gapbench.bench.adaptation.method import AnyMethod, Method, MethodConfig
from gapbench.bench.config.run import Cell
from gapbench.bench.core import plugins
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import Name, suggest, validate

MethodT = TypeVar("MethodT", bound=type[AnyMethod])


class _Described(BaseModel):
    """Facts that a method class must declare."""

    name: Name
    reference: str


def discover() -> Mapping[str, type[AnyMethod]]:
    """Return every method class by name.

    Raises:
        ConfigError: if two classes claim one name.
    """
    own = {name: cls for name, (cls, _) in plugins.registered.items()}
    return dict(sorted({**_installed(), **own}.items()))


def register(cls: MethodT) -> MethodT:
    """Register a method class from outside installed packages; usable as a decorator.

    A class that registers under its name again replaces the earlier one, as when a notebook cell
    runs again.

    Args:
        cls: a class that implements `Method`, including `name` and `reference`.

    Raises:
        ConfigError: if it is incomplete, or an installed method has its name.
    """
    if not (inspect.isclass(cls) and issubclass(cls, Method)) or inspect.isabstract(cls):
        raise ConfigError(f"{cls!r} is not a method; derive a class from Method and define 'adapt'")
    said = {field: getattr(cls, field, None) for field in _Described.model_fields}
    name = validate(_Described, said, f"method class {cls.__qualname__}").name
    if name in _installed():
        raise ConfigError(f"an installed method is called {name!r}; give {cls!r} another name")
    plugins.registered[name] = cls, plugins.source_of(cls)
    return cls


class Registered(tuple[type[AnyMethod], ...]):
    """The registered classes; unpickling registers them in another process."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _register_all, (tuple(self),)


def registered() -> Registered:
    """Return the registered classes that another process can import."""
    classes = (cls for cls, _ in plugins.registered.values())
    return Registered(cls for cls in classes if plugins.has_file(cls))


def bound_here(names: Iterable[str]) -> list[str]:
    """Return the names of classes that no other process can import."""
    known = {name: cls for name, (cls, _) in plugins.registered.items()}
    return sorted(n for n in {*names} & known.keys() if not plugins.has_file(known[n]))


def _register_all(classes: Iterable[type[AnyMethod]]) -> Registered:
    return Registered(map(register, classes))


@cache
def _installed() -> Mapping[str, type[AnyMethod]]:
    package = import_module("gapbench.methods")
    modules = [
        import_module(f"gapbench.methods.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    ]
    classes = [cls for module in modules for cls in _methods_in(module)]
    classes += [entry.load() for entry in plugins.method_entry_points()]
    found: dict[str, type[AnyMethod]] = {}
    for cls in classes:
        if cls.name in found:
            raise ConfigError(
                f"two methods are called {cls.name!r}: {found[cls.name].__module__} and "
                f"{cls.__module__}; rename one"
            )
        found[cls.name] = cls
    return found


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
    """Return a method's complete settings as plain data: defaults overridden by ``config``.

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
