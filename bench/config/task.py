"""Task definitions as data: what a task's columns, labels, splits and metrics are.

A task is one YAML file, built in (`suites/tasks/`) or the user's own. Reading the rows themselves
is the work of `bench.data.rows`; what each kind of task means for a model is `bench.tasks.kinds`.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any, Literal, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.task_sources import OwnSource, Source
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.safe_parsing import read_yaml
from gapbench.bench.core.schema import FrozenModel, Name, suggest, validate
from gapbench.bench.metrics.base import Metric
from gapbench.bench.metrics.classification import get as get_metric

Kind = Literal["classification", "regression", "generation", "choice", "span"]


class Splits(FrozenModel):
    """Which official split serves for training and which for the final score."""

    train: Name = "train"
    test: Name = "test"
    more: dict[Name, Name] | None = Field(
        default=None,
        description="further test splits, by their names in records; scored at the end",
    )

    @property
    def official(self) -> dict[str, str]:
        """Official splits by what they serve for."""
        return {"train": self.train, "test": self.test} | (self.more or {})


class Generation(FrozenModel):
    """How a text is made from the input, and what it is held against."""

    references: str | None = Field(
        default=None,
        description="column with a list of reference texts; None: rows of equal input belong "
        "together, and 'label' holds one reference each",
    )
    parts: str | None = Field(
        default=None,
        description="column of the test rows, such as a category, by whose values they are also "
        "scored in parts; blank ones belong to no part",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of a target's probability spread evenly"
    )
    decoding: Decoding = Decoding()


class Choice(FrozenModel):
    """Where the choices of a question are."""

    options: str | tuple[str, ...] = Field(
        description="column with a list of texts, or one column a choice"
    )
    blank: str | None = Field(
        default=None,
        description="mark in the text that a choice is put into; the model then scores the text "
        "after the mark. None: the choice itself is scored, after the text",
    )
    names: str | None = Field(
        default=None,
        description="column with a list of the choices' names, one of which is in 'label'; None: "
        "'label' holds the number of the choice, or its name in 'labels'",
    )
    replace: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="regular expressions and what stands instead of them in prompt and choices, "
        "applied in this order",
    )

    @field_validator("replace")
    @classmethod
    def _compile(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for pattern, _ in pairs:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pairs


class Span(FrozenModel):
    """How an answer is looked for in a context that may be longer than the backbone's window."""

    version: Literal["1.1", "2.0"] = Field(description="of SQuAD; 2.0 has questions without answer")
    stride: int = Field(default=128, ge=1, le=10**6, description="tokens by which windows overlap")
    max_answer_tokens: int = Field(
        default=30, ge=1, le=10**6, description="longest answer predicted"
    )


# What `metrics` may measure, by kind of task.
_MEASURED: dict[Kind, tuple[str, ...]] = {
    "classification": ("labels",),
    "regression": ("values",),
    "generation": ("texts", "tokens"),
    "choice": ("labels", "choices"),
    "span": ("spans",),
}


class Task(FrozenModel):
    """One task. `metrics[0]` is the main metric: leaderboards use it.

    `checkpoint_metric` picks the checkpoint: the main metric, unless that is too dear to compute
    at every evaluation point, as metrics of decoded texts are.
    """

    name: Name
    version: int = Field(ge=1, description="raised by any change that can move a score")
    kind: Kind
    description: str
    source: Source
    text: tuple[str, ...] = Field(
        min_length=1,
        description="text columns, in order; at most two, but for generation and choice",
    )
    prompt: str | None = Field(
        default=None,
        description="of generation and choice: the input with each {column} filled in; None: "
        "the text columns, one a line",
    )
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
        default=None, description="column whose equal values stay together in every cut"
    )
    generation: Generation | None = None
    choice: Choice | None = None
    span: Span | None = None
    metrics: tuple[str, ...] = Field(min_length=1)
    checkpoint_metric: str | None = Field(
        default=None, description="what picks the checkpoint; None: the first of 'metrics'"
    )
    splits: Splits = Splits()
    validation_size: int = Field(ge=1, description="examples cut from the official train split")
    max_length: int = Field(ge=4, le=10**6, description="tokens kept of one input")
    licence: str = ""
    citation: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "classification" and len(self.labels) < 2:
            raise ValueError("field 'labels' must name at least two classes")
        if self.kind == "regression" and self.label_range is None:
            raise ValueError("field 'label_range' must give the lowest and highest target")
        self._check_input()
        self._check_metrics("metrics", self.metrics)
        self._check_metrics("checkpoint_metric", (self.selection,))
        if self.selection_metric.kind == "texts":
            raise ValueError(
                f"field 'checkpoint_metric' must not need decoded texts, as {self.selection!r} "
                "does; set it to perplexity or token_accuracy"
            )
        return self

    def _check_metrics(self, field: str, names: Sequence[str]) -> None:
        for name in names:
            try:
                measured = get_metric(name).kind
            except ConfigError as error:
                raise ValueError(f"field {field!r}: {error}") from None
            if measured not in _MEASURED[self.kind]:
                raise ValueError(f"field {field!r}: metric {name!r} does not score {self.kind}")

    def _check_input(self) -> None:
        for own in ("generation", "choice", "span"):
            if (getattr(self, own) is not None) != (self.kind == own):
                raise ValueError(f"field {own!r} belongs to tasks of kind {own}, and they need it")
        if self.prompt is not None and self.kind not in {"generation", "choice"}:
            raise ValueError("field 'prompt' belongs to tasks of kind generation or choice")
        if self.kind not in {"generation", "choice"} and len(self.text) > 2:
            raise ValueError("field 'text' may name at most two columns for this kind")
        if self.kind == "span" and len(self.text) != 2:
            raise ValueError("field 'text' must name the question's column and the context's")
        self._check_prompt()

    def _check_prompt(self) -> None:
        """Allow the columns and no more: a format may also ask for attributes, or for gigabytes."""
        way_out = "write {column}, and {{ for a brace"
        columns = f"field 'prompt' does not fit the columns {list(self.text)}"
        try:
            parts = list(Formatter().parse(self.prompt or ""))
        except ValueError as error:
            raise ValueError(f"{columns}: {error}; {way_out}") from None
        for _, name, form, conversion in parts:
            if name is not None and (name not in self.text or form or conversion):
                raise ValueError(f"{columns}: {name!r} is none of them, or has a format; {way_out}")

    def fill(self, texts: Sequence[str]) -> str:
        """Return the prompt for the text columns of one row."""
        if self.prompt is None:
            return "\n".join(texts)
        return self.prompt.format(**dict(zip(self.text, texts, strict=True)))

    @property
    def selection(self) -> str:
        """Name of the metric that picks the checkpoint."""
        return self.checkpoint_metric or self.metrics[0]

    @property
    def selection_metric(self) -> Metric:
        """The metric that picks the checkpoint."""
        return get_metric(self.selection)

    @property
    def n_outputs(self) -> int:
        """Width of a head that is drawn anew: number of classes, 2 ends of a span, or 1."""
        return {"classification": len(self.labels), "span": 2}.get(self.kind, 1)

    @property
    def metric(self) -> Metric:
        """The main metric."""
        return get_metric(self.metrics[0])

    def identity(self) -> dict[str, Any]:
        """Return every field that can move a score, for hashing.

        What is None is left out, so that a field added later changes no hash of those without it.
        """
        words = {"description": True, "licence": True, "citation": True}
        # Of a user's own files the content counts, which the fingerprint of the data says.
        excluded = words | {"source": {"train": True, "test": True}}
        return self.model_dump(mode="json", exclude=excluded, exclude_none=True)


def builtin_names() -> list[str]:
    """Return the names of the tasks that travel with the package."""
    folder = files("gapbench.suites") / "tasks"
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
    candidates.append(Path(str(files("gapbench.suites") / "tasks" / f"{name}.yaml")))
    for path in candidates:
        if path.is_file():
            task = validate(Task, read_yaml(path), str(path))
            if task.name != name:
                raise ConfigError(
                    f"{path}: field 'name' must equal the file name, got {task.name!r}"
                )
            if isinstance(task.source, OwnSource):
                task = task.model_copy(update={"source": task.source.beside(path.parent)})
            return task
    own = [path.stem for path in (folder / "tasks").glob("*.yaml")] if folder else []
    raise ConfigError(f"unknown task {name!r}; {suggest(name, own + builtin_names())}")
