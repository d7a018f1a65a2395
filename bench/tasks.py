"""Task definitions as data: what a task's columns, labels, splits and metrics are.

A task is one YAML file, built in (`suites/tasks/`) or the user's own. Reading the rows themselves
is the work of `bench.data`.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bench.errors import ConfigError
from bench.metrics import Metric
from bench.metrics import get as get_metric
from bench.schema import Frozen, read_yaml, suggest, validate

Kind = Literal["classification", "regression"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class HubSource(Frozen):
    """A data set of the Hugging Face hub at a pinned revision."""

    hub: str = Field(description="repository id, such as nyu-mll/glue")
    config: str | None = Field(default=None, description="configuration name inside the repository")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="full commit hash")


class BuiltinSource(Frozen):
    """A task of `bench.synthetic`, generated from a seed, with known true probabilities."""

    builtin: str = Field(description="name in bench.synthetic")
    seed: int = Field(ge=0, description="seed of the generated rows")
    sizes: dict[Literal["train", "validation", "test"], Annotated[int, Field(ge=1)]]


class FileSource(Frozen):
    """Rows that exist only as files under the data folder given with ``--data``."""

    files: Literal["parquet"]


class Splits(Frozen):
    """Which official split serves for training and which for the final score."""

    train: str = "train"
    test: str = "test"


class Task(Frozen):
    """One task. `metrics[0]` is the main metric: checkpoints and leaderboards use it."""

    name: Name
    version: int = Field(ge=1, description="raised by any change that can move a score")
    kind: Kind
    description: str
    source: HubSource | BuiltinSource | FileSource
    text: tuple[str, ...] = Field(min_length=1, max_length=2, description="text columns, in order")
    label: str = "label"
    labels: tuple[str, ...] = Field(default=(), description="class names in label order")
    label_range: tuple[float, float] | None = Field(
        default=None, description="lowest and highest legal target of a regression task"
    )
    metrics: tuple[str, ...] = Field(min_length=1)
    splits: Splits = Splits()
    validation_size: int = Field(ge=1, description="examples cut from the official train split")
    max_length: int = Field(ge=4, description="tokens kept of one input")
    licence: str = ""
    citation: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "classification" and len(self.labels) < 2:
            raise ValueError("field 'labels' must name at least two classes")
        if self.kind == "regression" and self.label_range is None:
            raise ValueError("field 'label_range' must give the lowest and highest target")
        wanted = "labels" if self.kind == "classification" else "values"
        for name in self.metrics:
            if get_metric(name).kind != wanted:
                raise ValueError(f"metric {name!r} does not score {self.kind}")
        return self

    @property
    def n_outputs(self) -> int:
        """Width of the task head: number of classes, or 1 for regression."""
        return len(self.labels) if self.kind == "classification" else 1

    @property
    def metric(self) -> Metric:
        """The main metric."""
        return get_metric(self.metrics[0])

    def identity(self) -> dict[str, Any]:
        """Return every field that can move a score, for hashing."""
        return self.model_dump(mode="json", exclude={"description", "licence", "citation"})


def builtin_names() -> list[str]:
    """Return the names of the tasks that travel with the package."""
    folder = files("suites") / "tasks"
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def load(name: str, folder: Path | None = None) -> Task:
    """Read the task ``name`` from ``folder`` (a suite's own neighbours first) or the built-in ones.

    Raises:
        ConfigError: if there is no such task, or its file is invalid.
    """
    candidates = [folder / "tasks" / f"{name}.yaml"] if folder else []
    candidates.append(Path(str(files("suites") / "tasks" / f"{name}.yaml")))
    for path in candidates:
        if path.is_file():
            task = validate(Task, read_yaml(path), str(path))
            if task.name != name:
                raise ConfigError(
                    f"{path}: field 'name' must equal the file name, got {task.name!r}"
                )
            return task
    own = [path.stem for path in (folder / "tasks").glob("*.yaml")] if folder else []
    raise ConfigError(f"unknown task {name!r}; {suggest(name, own + builtin_names())}")
