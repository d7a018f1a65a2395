"""The kinds of task, one file each, found by file; see `bench.tasks.kinds.base`.

Nothing here loads torch until a model is used, because reports read tasks too.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import get_args

from gapbench.bench.config.task import Task
from gapbench.bench.tasks.kinds.base import AnyKind, Outputs, TaskKind, finite, of_run

__all__ = ["Outputs", "TaskKind", "discover", "finite", "get", "of_run", "task_classes"]


@cache
def discover() -> Mapping[str, AnyKind]:
    """Return every kind by name, from the classes in all files that name their tasks."""
    found: dict[str, AnyKind] = {}
    for info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for cls in vars(module).values():
            own = isinstance(cls, type) and cls.__module__ == module.__name__
            if own and issubclass(cls, TaskKind) and "Task" in vars(cls):
                (name,) = get_args(cls.Task.model_fields["kind"].annotation)
                found[name] = cls()
    return found


def task_classes() -> Mapping[str, type[Task]]:
    """Return the task class of every kind."""
    return {name: kind.Task for name, kind in discover().items()}


def get(kind: str) -> AnyKind:
    """Return the `TaskKind` with a name."""
    return discover()[kind]
