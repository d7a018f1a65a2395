"""Schema of a suite file: a grid of tasks x backbones x methods x seeds, and shared settings.

`bench.experiment.suite` finds and expands suites.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Annotated, Any, Literal, Self, Union

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from gapbench.bench.config.run import (
    Budget,
    Folds,
    Precision,
    Protocol,
    Quantization,
    StoredPredictions,
    Training,
)
from gapbench.bench.config.task import Task
from gapbench.bench.core.schema import DisplayName, FrozenModel, Name, PathStr
from gapbench.bench.store.suite_plan import REFERENCE

WantedPrecision = Literal[Precision, "auto"]
SuiteLike = Union[str, PathLike[str], Mapping[str, Any], "Suite"]
MOST_RUNS = 100_000
"""Largest number of runs in a suite, so that a mistyped number of seeds is noticed."""
_MOST_SHOWN = 5


class MethodChange(FrozenModel):
    """Changes of one method on one task."""

    config: dict[str, Any] = Field(default={}, description="overrides of the entry's config")
    training: dict[str, Any] = Field(default={}, description="overrides of the entry's training")


def _named(field: str) -> BeforeValidator:
    """Accept a bare name in place of an entry with a single field."""
    return BeforeValidator(lambda value: {field: value} if isinstance(value, str) else value)


def _task_entry(value: object) -> object:
    """Accept a task, or its fields, in place of an entry or its task's name."""
    if isinstance(value, str | Task) or (isinstance(value, Mapping) and "kind" in value):
        value = {"task": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("task"), Mapping | Task):
        return value
    defined = value["task"]
    name = defined.name if isinstance(defined, Task) else defined.get("name")
    return {**value, "task": name, "definition": defined}


class NamedTask(FrozenModel):
    """A task, by its name or by its definition, with changes to its file."""

    task: Name
    definition: Task | None = Field(
        default=None, description="the task itself, if there is no file of that name"
    )
    settings: dict[str, Any] = Field(
        default={},
        description="overrides of the task's file, field by field; they make another task",
    )

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if self.definition is not None and self.definition.name != self.task:
            raise ValueError(f"task {self.task!r} is defined as {self.definition.name!r}")
        return self


class SecondTestEntry(NamedTask):
    """Another task on whose test rows every adapter of a task is scored at the end."""

    labels: dict[str | StrictInt, str | StrictInt] | None = Field(
        default=None,
        description="for each class of the trained task, the class of this one that it stands for; "
        "None: both have the same names",
    )


class TaskEntry(NamedTask):
    """A task of the grid with its changes to the suite; the resolved cells contain them."""

    backbones: tuple[PathStr, ...] = Field(
        default=(), description="backbones instead of the suite's"
    )
    budget: dict[str, Any] = Field(
        default={}, description="overrides of the suite's budget, for all methods"
    )
    training: dict[str, Any] = Field(
        default={},
        description="overrides of the suite's training; a method's own settings override them",
    )
    start: PathStr | None = Field(
        default=None,
        description="adapter folder that all methods start from; relative to the suite's file",
    )
    head: Literal["keep"] | None = Field(
        default=None,
        description="keep: all methods start from the checkpoint's trained head, whose label names "
        "must be the task's; None: every run draws a new head",
    )
    methods: dict[str, MethodChange] = Field(
        default={}, description="changes by method for all its variants, or by 'method/variant'"
    )
    also_test: tuple[Annotated[SecondTestEntry, BeforeValidator(_task_entry)], ...] = Field(
        default=(),
        description="other tasks on whose test rows the chosen adapter is scored at the end",
    )


class MethodEntry(FrozenModel):
    """A method of the grid, with settings that differ from its defaults."""

    method: DisplayName
    variant: DisplayName = Field(default="default", description="label in tables")
    config: dict[str, Any] = Field(default={})
    training: dict[str, Any] = Field(default={}, description="overrides of the suite's training")

    @property
    def label(self) -> str:
        """Name of this entry in a task's changes."""
        return f"{self.method}/{self.variant}"


def _seed_list(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_RUNS:
            raise ValueError(f"a number of seeds must be at least 1 and at most {MOST_RUNS}")
        return list(range(value))
    return value


class RepeatedFolds(Folds):
    """Repeated stratified K-fold: a block for each seed."""

    repeats: int = Field(default=1, ge=1, le=1000, description="cuts into folds")

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed for each block."""
        return tuple(range(self.folds * self.repeats))


def _default_seeds(fields: dict[str, Any]) -> tuple[int, ...]:
    """Return every block of a suite with folds, else three seeds."""
    resample = fields.get("resample")
    return resample.seeds if isinstance(resample, RepeatedFolds) else (0, 1, 2)


class Suite(FrozenModel):
    """A grid and its shared protocol."""

    name: Name
    description: str = ""
    tasks: tuple[Annotated[TaskEntry, BeforeValidator(_task_entry)], ...] = Field(min_length=1)
    backbones: tuple[PathStr, ...] = Field(min_length=1)
    methods: tuple[Annotated[MethodEntry, _named("method")], ...] = Field(min_length=1)
    resample: Literal["fixed", "per_seed"] | RepeatedFolds = Field(
        default="fixed",
        description="fixed: all seeds train on the same 'train_size' examples; per_seed: each "
        "seed draws its own; folds and repeats: each seed is a block of repeated K-fold, whose "
        "validation split is one fold of all rows outside of test",
    )
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
        BeforeValidator(_seed_list),
        Field(min_length=1),
    ] = Field(
        default_factory=_default_seeds,
        description="a list, or a number of seeds counted from 0; all blocks of a suite with folds",
    )
    budget: Budget
    training: Training = Training()
    protocol: Protocol = "strict"
    backbone_dropout: float = Field(default=0.0, ge=0, lt=1)
    precision: WantedPrecision = Field(
        default="fp32", description="auto: bf16 where it is faster on this machine"
    )
    quantization: Quantization | None = Field(
        default=None,
        description="format of the frozen linear layers, in few bits a weight; None: in full",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="whether the layers of the backbone keep only their inputs in a training pass, "
        "and the backward pass computes the rest anew: less memory, a second forward pass",
    )
    accumulation: int = Field(
        default=1,
        ge=1,
        description="parts of each run's batch that are taken one after another: less memory, the "
        "same step. 'batch_size' counts the whole batch",
    )
    predictions: StoredPredictions = Field(
        default="all",
        description="splits whose predictions are stored; test: only the main test split, so that "
        "intervals of gaps ignore items. Not part of a run's hash",
    )
    keep: Literal["checkpoint"] | None = Field(
        default=None,
        description="checkpoint: the state that each run ended in is stored beside its record, and "
        "'export' need not train again. Not part of a run's hash",
    )
    reference: DisplayName = Field(
        default=REFERENCE,
        description="method, or 'method / variant', that reports compare all others with first. No "
        "part of a run's hash",
    )

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("seeds must differ")
        return seeds

    @model_validator(mode="after")
    def _distinct_entries(self) -> Self:
        if doubled := _doubled(entry.label for entry in self.methods):
            raise ValueError(f"give each entry of a method its own 'variant': {doubled}")
        if doubled := _doubled(entry.task for entry in self.tasks):
            raise ValueError(f"a task may appear in a suite once, got {doubled} more than once")
        return self

    @model_validator(mode="after")
    def _fits_blocks(self) -> Self:
        if not isinstance(self.resample, RepeatedFolds):
            return self
        folds, repeats = self.resample.folds, self.resample.repeats
        blocks = len(self.resample.seeds)
        if beyond := [seed for seed in self.seeds if seed >= blocks]:
            raise ValueError(
                f"field 'seeds' asks for seed {max(beyond)}, but 'resample' with {folds} folds and "
                f"{repeats} repeats has {blocks} blocks, seeds 0 to {blocks - 1}; give "
                f"{max(beyond) // folds + 1} repeats, or fewer seeds"
            )
        if self.protocol == "paper":
            raise ValueError(
                "field 'protocol' is 'paper', whose validation split is the test split, but "
                "'resample' has folds for that; give 'protocol: strict', or another 'resample'"
            )
        return self

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        cells = sum(len(entry.backbones or self.backbones) for entry in self.tasks)
        runs = cells * len(self.methods) * len(self.seeds)
        if runs > MOST_RUNS:
            raise ValueError(
                f"fields 'tasks', 'backbones', 'methods' and 'seeds' make {runs} runs, but a suite "
                f"may have at most {MOST_RUNS}; split it"
            )
        return self

    @property
    def all_backbones(self) -> list[str]:
        """Every backbone that any task runs on."""
        named = [name for entry in self.tasks for name in entry.backbones or self.backbones]
        return list(dict.fromkeys(named))


def _doubled(names: Iterable[str]) -> list[str]:
    """Return the first few names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1][:_MOST_SHOWN]
