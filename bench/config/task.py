"""Task definitions as data: columns, labels, splits and metrics.

A task is one YAML file, built in (`suites/tasks/`) or the user's own. This file holds the fields of
all kinds; everything about one kind is in its file in `bench.tasks.kinds`.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, Literal, Self, cast

from pydantic import Field, ModelWrapValidatorHandler, StrictInt, field_validator, model_validator

from gapbench.bench.config.head import HeadType
from gapbench.bench.config.task_sources import BuiltinSource, OwnSource, Source
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import FrozenModel, Name, suggest
from gapbench.bench.metrics.base import Metric
from gapbench.bench.metrics.base import get as get_metric

Loss = Literal["cross_entropy", "squared_error"]
_OWN_NAMES = ("train", "validation", "test", "shots", "train_overlap", "train_share")
_KINDS = "gapbench.bench.tasks.kinds"  # package of the kinds, one file each, found like methods


class Splits(FrozenModel):
    """The official splits for training and for the final score."""

    train: Name | None = Field(
        default="train", description="null: there are no training rows, the task is only scored"
    )
    test: Name = "test"
    more: dict[Name, Name] | None = Field(
        default=None,
        description="further test splits, by their names in records; scored at the end",
    )

    @field_validator("more")
    @classmethod
    def _check_more(cls, more: dict[str, str] | None) -> dict[str, str] | None:
        for name in more or {}:
            if name in _OWN_NAMES or "." in name:
                raise ValueError(
                    f"{name!r} cannot name a further test split: {', '.join(_OWN_NAMES)} mean "
                    "something else, and names hold no dot; choose another"
                )
        return more

    @property
    def official(self) -> dict[str, str]:
        """Official splits by their role."""
        train = {} if self.train is None else {"train": self.train}
        return train | {"test": self.test} | (self.more or {})


class Task(FrozenModel):
    """One task. `metrics[0]` is the main metric: leaderboards use it.

    `checkpoint_metric` picks the checkpoint: the main metric, unless that is too expensive to
    compute at every evaluation point, as for metrics of decoded texts.

    Each kind of task has a class with its fields and checks; `Task(...)` and validation pick it by
    the field ``kind``.

    Attributes:
        head: head of the models for this kind.
        loss: loss of one target.
        measures: quantities that metrics of this kind may measure (see `bench.metrics.base`).
        templated: whether a tokenizer's chat template writes the texts of this kind.
        prompted: whether models read a prompt and answer in tokens.
    """

    head: ClassVar[HeadType]
    loss: ClassVar[Loss] = "cross_entropy"
    measures: ClassVar[tuple[str, ...]]
    templated: ClassVar[bool] = False
    prompted: ClassVar[bool] = False

    name: Name
    version: int = Field(ge=1, description="raised by any change that can alter a score")
    kind: str
    description: str
    source: Source
    folder: Name | None = Field(
        default=None,
        description="folder of the rows in that of --data; None: the task's name",
    )
    text: tuple[str, ...] = Field(min_length=1, description="text columns, in order")
    label: str = Field(default="label", description="column of the class, value, target or answers")
    labels: tuple[str | StrictInt, ...] = Field(
        default=(),
        description="classes in label order: names, which the column holds or counts from 0; or "
        "the whole numbers that it holds",
    )
    label_range: tuple[float, float] | None = Field(
        default=None, description="lowest and highest legal target of a regression task"
    )
    group: str | None = Field(
        default=None, description="column of groups; a group stays together in every cut"
    )
    metrics: tuple[str, ...] = Field(min_length=1)
    checkpoint_metric: str | None = Field(
        default=None, description="metric that picks the checkpoint; None: the first of 'metrics'"
    )
    splits: Splits = Splits()
    validation_size: int = Field(
        default=0,
        ge=0,
        description="examples cut from the official train split; at least 1 where there is one",
    )
    test_size: StrictInt | None = Field(
        default=None,
        ge=1,
        description="examples of each test split that are scored, evenly spaced, or its first rows "
        "where these are joined; None: all",
    )
    max_length: int = Field(ge=4, le=10**6, description="tokens kept of one input")
    licence: str = ""
    citation: str = ""

    def __new__(cls, *_: object, **fields: object) -> Self:
        """Return an empty task of the kind's class."""
        owner = task_class(fields) if cls is Task else cls
        return cast("Self", super().__new__(owner))

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, content: Any, validate_fields: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(content, Task):
            return validate_fields(content)
        if cls is Task:
            return cast("Self", task_class(content).model_validate(content))
        return validate_fields(_without_foreign(cls, content))

    @field_validator("labels", mode="before")
    @classmethod
    def _check_names(cls, labels: Any) -> Any:
        if not isinstance(labels, list | tuple):
            return labels
        if {type(label) for label in labels} not in ({str}, {int}, set()):
            raise ValueError("must be all names or all whole numbers; put names in quotes")
        if len({*labels}) < len(labels):
            raise ValueError("must differ from each other")
        return labels

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field, names in (("metrics", self.metrics), ("checkpoint_metric", (self.selection,))):
            for name in names:
                try:
                    measured = get_metric(name).measures
                except ConfigError as error:
                    raise ValueError(f"field {field!r}: {error}") from None
                if measured not in self.measures:
                    raise ValueError(f"field {field!r}: metric {name!r} does not score {self.kind}")
        return self

    @model_validator(mode="after")
    def _check_training_rows(self) -> Self:
        source = self.source
        if isinstance(source, OwnSource) and (source.train is None) != self.tests_only:
            raise ValueError(
                "fields 'source.train' and 'splits.train' contradict each other; a task that is "
                "only scored has no file 'train' and says 'splits: {train: null}'"
            )
        if isinstance(source, OwnSource) and self.splits.more:
            raise ValueError(
                "field 'splits.more' names further splits of a data set, but 'source' has files of "
                "its own, of which 'test' is the only one to score; make a task of each other file"
            )
        if self.tests_only and self.validation_size:
            raise ValueError("field 'validation_size' must be absent: there are no training rows")
        if not self.tests_only and not self.validation_size:
            raise ValueError(
                "field 'validation_size' must be at least 1; a task that is only scored says "
                "'splits: {train: null}'"
            )
        return self

    @property
    def joined(self) -> bool:
        """Whether the rows of a split are one document, so that cuts take neighbours."""
        return False

    @property
    def tests_only(self) -> bool:
        """Whether there are no training rows, so that models are only scored on this task."""
        return self.splits.train is None

    @property
    def files(self) -> dict[str, str]:
        """Official splits that are read, by their role."""
        return self.splits.official

    @property
    def selection(self) -> str:
        """Name of the metric that picks the checkpoint."""
        return self.checkpoint_metric or self.metrics[0]

    @property
    def selection_metric(self) -> Metric:
        """The metric that picks the checkpoint."""
        return get_metric(self.selection)

    @property
    def metric(self) -> Metric:
        """The main metric."""
        return get_metric(self.metrics[0])

    @property
    def n_outputs(self) -> int:
        """Output width of a newly initialised head."""
        return 1

    @property
    def has_classes(self) -> bool:
        """Whether the outputs of the head are the classes in `labels`."""
        return self.n_outputs == len(self.labels)

    @property
    def written(self) -> int | None:
        """Largest number of tokens decoded after a prompt; None if none are."""
        return None

    @property
    def part_groups(self) -> tuple[str, ...]:
        """Names of the groups of parts that also have scores of their own."""
        return ()

    @property
    def label_smoothing(self) -> float:
        """Share of a target's probability that training spreads evenly over all outputs."""
        return 0.0

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text, even if it looks like numbers."""
        return self.text

    def only_test(self) -> "Task":
        """Return the task with its main test rows alone.

        Raises:
            ConfigError: if these are cut from its training rows.
        """
        source = self.source
        if isinstance(source, OwnSource):
            if source.test is None:
                raise ConfigError(
                    f"task {self.name!r} cuts its test rows from its training rows (field "
                    "'source.test_share'); give them a file of their own in 'source.test'"
                )
            source = source.model_copy(update={"train": None})
        elif isinstance(source, BuiltinSource):
            source = source.model_copy(update={"sizes": {"test": source.sizes["test"]}})
        splits = Splits(train=None, test=self.splits.test)
        return self.model_copy(
            update={"source": source, "splits": splits, "validation_size": 0, "group": None}
        )

    def identity(self) -> dict[str, Any]:
        """Return every field that can alter a score, for hashing.

        Fields that are None are left out, so that a new field keeps the hashes of tasks without it.
        """
        words = {"folder": True, "description": True, "licence": True, "citation": True}
        # For a user's own files the content counts; the fingerprint of the data covers it.
        excluded = words | {"source": {"train": True, "test": True}}
        return self.model_dump(mode="json", exclude=excluded, exclude_none=True)


def task_class(content: object) -> type[Task]:
    """Return the class that checks a task of the kind that ``content`` names.

    Raises:
        ValueError: if there is no such kind.
    """
    known = import_module(_KINDS).task_classes()
    if not isinstance(content, Mapping) or "kind" not in content:
        raise ValueError("field 'kind' is required")
    kind = content["kind"]
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"field 'kind': unknown kind {kind!r}; {suggest(str(kind), list(known))}")
    return cast("type[Task]", known[kind])


def _without_foreign(owner: type[Task], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's fields without those of other kinds, which records may hold as None.

    Raises:
        ValueError: if a field of another kind has a value.
    """
    kinds = import_module(_KINDS).task_classes()
    foreign = {
        name
        for name in content
        if name not in owner.model_fields
        and any(name in other.model_fields for other in kinds.values())
    }
    for name in sorted(foreign):
        if content[name] is not None:
            owners = " or ".join(kind for kind, cls in kinds.items() if name in cls.model_fields)
            raise ValueError(f"field {name!r} belongs to tasks of kind {owners}")
    return {name: value for name, value in content.items() if name not in foreign}
