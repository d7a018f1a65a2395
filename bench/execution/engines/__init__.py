"""The engines, which execute stacks: one file per engine, with what `base.Engine` lists.

`local` is this computer's processes, `ray` the tasks of a Ray cluster, `slurm` a job array. They
take stacks from the same queue and write the same records; the holder of a run's claim writes its
record. An engine's extras are loaded only when it is used.
"""

import pkgutil
from typing import TYPE_CHECKING, cast

from gapbench.bench.core.extras import import_extra

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
    return cast("Engine", import_extra(f"{__name__}.{name}", f"--engine {name}", name))
