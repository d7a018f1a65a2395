"""Read tasks from their files: the built-in ones and those beside a suite."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from gapbench.bench.config.task import Task, task_class
from gapbench.bench.config.task_sources import OwnSource
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.safe_parsing import read_yaml
from gapbench.bench.core.schema import laid_over, suggest, validate


def parse(content: object, place: str) -> Task:
    """Return a checked task from the fields of its file.

    Raises:
        ConfigError: naming ``place`` and every invalid field.
    """
    try:
        owner = task_class(content) if isinstance(content, Mapping) else Task
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None
    return validate(owner, content, place)


def builtin_names() -> list[str]:
    """Return the names of the tasks in the package."""
    folder = files("gapbench.suites") / "tasks"
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def load(name: str, folder: Path | None = None) -> Task:
    """Read the task ``name`` from ``folder`` (files beside a suite) or the built-in tasks.

    Raises:
        ConfigError: if there is no such task, or its file is invalid.
    """
    for path in _candidates(name, folder and folder / "tasks"):
        if path.is_file():
            task = of_file(path)
            if task.name != name:
                raise ConfigError(
                    f"{path}: field 'name' must equal the file name, got {task.name!r}"
                )
            if isinstance(task.source, OwnSource):
                task = task.model_copy(update={"source": task.source.beside(path.parent)})
            return task
    own = [path.stem for path in (folder / "tasks").glob("*.yaml")] if folder else []
    raise ConfigError(f"unknown task {name!r}; {suggest(name, own + builtin_names())}")


def of_file(path: Path) -> Task:
    """Read a task from its file, with what it says of the task that it extends.

    Raises:
        ConfigError: if the file is not a task's, or extends no other task.
    """
    return parse(_extended(read_yaml(path), path), str(path))


def _candidates(name: str, folder: Path | None) -> list[Path]:
    """Return where the file of a task may be; the first that exists counts."""
    builtin = Path(str(files("gapbench.suites") / "tasks"))
    return [place / f"{name}.yaml" for place in (folder, builtin) if place is not None]


def _extended(content: Any, path: Path) -> Any:
    """Return the fields of a task file with those of the task that it extends, if it says so.

    That task is in the same folder, or built in. Its own fields are laid over those of the other
    task; null takes one away.

    Raises:
        ConfigError: if there is no such task, or it extends another one itself.
    """
    if not isinstance(content, dict) or "extends" not in content:
        return content
    name = content["extends"]
    found = [p for p in _candidates(str(name), path.parent) if p.is_file()]
    base = read_yaml(found[0]) if found else None
    if not isinstance(base, dict) or "extends" in base:
        raise ConfigError(
            f"{path}: field 'extends' is {name!r}, which must be another task, in the same folder "
            "or built in, that extends none"
        )
    made = laid_over({"folder": name, **base}, content)
    return {n: value for n, value in made.items() if value is not None and n != "extends"}
