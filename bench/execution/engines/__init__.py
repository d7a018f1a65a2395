"""The engines, which execute stacks: one file per engine, each with a function `work`.

`local` is this computer's processes, `ray` the tasks of a Ray cluster, `slurm` a job array. They
take stacks from the same queue and write the same records; the holder of a run's claim writes its
record. An engine's extras are loaded only when it is used.
"""

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

from gapbench.bench.core.errors import ConfigError

if TYPE_CHECKING:
    from gapbench.bench.execution.engines.base import Engine


def names() -> list[str]:
    """Return the names of all engines: the files beside this one, except `base`."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - {"base"})


def find(name: str) -> "Engine":
    """Return an engine by name.

    Raises:
        ConfigError: if the package it needs is not installed.
    """
    try:
        module = import_module(f"gapbench.bench.execution.engines.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("gapbench"):
            raise
        raise ConfigError(
            f"--engine {name}: the package {error.name.partition('.')[0]!r} is not installed; "
            f"install it with: pip install 'gapbench[{name}]'"
        ) from None
    engine: Engine = module.work
    return engine
