"""The settings of one run: cell (task x backbone x method x config) and seed, with their hashes.

Method settings are already resolved here (defaults filled in by the method's own `Config`), so that
two spellings of the same run share one hash.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from gapbench.bench.config.task import Task
from gapbench.bench.core.schema import FrozenModel, content_hash

Protocol = Literal["strict", "paper"]
Precision = Literal["fp32", "bf16", "fp64"]
Quantization = Literal["nf4", "int8", "int4"]
"""Format of frozen linear layers; see `bench.models.quantized`."""
StoredPredictions = Literal["test", "all"]
"""Splits whose predictions a run stores: the main test split, or all that are scored."""


class Block(FrozenModel):
    """One cut of repeated K-fold, the same for every method."""

    repeat: int = Field(ge=0, description="number of the cut into folds, from 0")
    fold: int = Field(ge=0, description="fold that is the validation split, from 0")

    def __str__(self) -> str:
        return f"repeat {self.repeat}, fold {self.fold}"


class Folds(FrozenModel):
    """All rows outside of test are cut into folds; each in turn is the validation split."""

    folds: int = Field(ge=2, le=1000, description="parts of one cut")

    def block(self, seed: int) -> Block:
        """Return the block of a seed: seeds count the folds of a repeat, then the next repeat."""
        repeat, fold = divmod(seed, self.folds)
        return Block(repeat=repeat, fold=fold)


class NestedFolds(Folds):
    """Each fold in turn is the test split, and validation is cut from the others.

    So the rows that choose a checkpoint are not those that it is scored on. The official test
    splits are not read.
    """

    nested: Literal[True]


Resample = Literal["fixed", "per_seed"] | NestedFolds | Folds
"""Whether all seeds train on the same rows, draw their own `Budget.train_size`, or are blocks."""


class Budget(FrozenModel):
    """The budget, equal for all methods of a suite; no method may override it."""

    epochs: float | None = Field(
        default=None, gt=0, le=1e6, description="passes over the training set"
    )
    steps: int | None = Field(default=None, ge=1, le=10**9, description="optimiser updates")
    batch_size: int = Field(default=16, ge=1, le=10**6, description="examples per update and run")
    evaluations: int = Field(
        default=10,
        ge=1,
        le=10**5,
        description="number of points in training at which validation is scored",
    )
    choosing_members: int | None = Field(
        default=None,
        ge=1,
        description="masked copies or samples of an ensemble that predict along training, where "
        "the checkpoint is chosen; None: at most 2. All of them score the chosen one",
    )
    train_size: int | None = Field(
        default=None,
        ge=2,
        description="training examples kept (a stratified subset); None keeps all",
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'epochs' and 'steps'")
        return self

    def total_steps(self, n_train: int) -> int:
        """Return the number of updates for ``n_train`` examples (a partial batch counts as one)."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # noqa: S101 - `_one_length` guarantees it
        return max(1, round(self.epochs * -(-n_train // self.batch_size)))


class Training(FrozenModel):
    """Optimiser settings; a suite gives them, a method entry may override them.

    The optimiser is AdamW (Loshchilov & Hutter 2019). Vectors and biases are never decayed, as in
    the model library's trainer.
    """

    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="peak rate")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="decoupled decay")
    warmup_fraction: float = Field(
        default=0.06,
        ge=0,
        lt=1,
        description="share of all steps with a linearly rising learning rate",
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="shape of the learning rate after warm-up"
    )
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="global gradient norm of one run; None does not clip"
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="evaluations without a better validation score before a "
        "run stops; None trains to the end",
    )


class Fingerprint(FrozenModel):
    """A named input and the hash of its content."""

    name: str
    digest: str = Field(description="hash of the content, or the pinned revision")


class SecondTest(FrozenModel):
    """Another task on whose test rows the chosen adapter is scored; nothing is chosen there.

    The model keeps its head. Where that has classes, those of the test are found among them.
    """

    task: SerializeAsAny[Task] = Field(description="with test rows alone")
    data: Fingerprint
    classes: tuple[int, ...] | None = Field(
        default=None,
        description="for each class of the model, the class of the test that it stands for; the "
        "probabilities of those that stand for the same add up. None: they are the same",
    )

    @property
    def name(self) -> str:
        """Name of the test among the splits of a record."""
        return self.task.name

    def identity(self) -> dict[str, Any]:
        """Return all that can alter its scores, for hashing."""
        return {"task": self.task.identity(), **self.model_dump(mode="json", exclude={"task"})}


class Cell(FrozenModel):
    """Everything that decides a result, except the seed."""

    task: SerializeAsAny[Task]
    data: Fingerprint
    backbone: Fingerprint
    start: Fingerprint | None = Field(
        default=None, description="adapter that runs start from; None: the backbone"
    )
    head: Literal["keep"] | None = Field(
        default=None, description="keep: runs start from the checkpoint's head; None draws new ones"
    )
    method: str
    config: dict[str, Any] = Field(description="resolved method settings")
    training: Training
    budget: Budget
    protocol: Protocol = "strict"
    backbone_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="drop rate of the backbone's hidden-state dropout; 0 as in the HiddenKey paper",
    )
    precision: Precision = "fp32"
    quantization: Quantization | None = Field(
        default=None, description="format of the frozen linear layers; None: as `precision` says"
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="whether the layers of the backbone keep only their inputs in a training pass",
    )
    accumulation: int = Field(
        default=1,
        ge=1,
        description="parts of a batch whose gradients are added up, one after another",
    )
    resample: Resample = "fixed"
    also_test: tuple[SecondTest, ...] = Field(
        default=(), description="other tasks that the chosen adapter is scored on, at the end"
    )

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what most cells lack, so that older hashes stay the same."""
        content: dict[str, Any] = dump(self)
        if self.resample == "fixed":
            content.pop("resample", None)
        if self.quantization is None:
            content.pop("quantization", None)
        if not self.gradient_checkpointing:
            content.pop("gradient_checkpointing", None)
        if self.accumulation == 1:
            content.pop("accumulation", None)
        if not self.also_test:
            content.pop("also_test", None)
        return content

    @property
    def number_format(self) -> str:
        """Precision, and the format of the frozen linear layers where it is another."""
        return ", ".join(filter(None, (self.precision, self.quantization)))

    @property
    def memory_format(self) -> str:
        """What decides the memory and time of a run beside its sizes, in words."""
        repeated = "gradient checkpointing" if self.gradient_checkpointing else None
        parts = f"accumulation {self.accumulation}" if self.accumulation > 1 else None
        return ", ".join(filter(None, (self.number_format, repeated, parts)))

    @cached_property
    def hash(self) -> str:
        """Content hash, 16 hexadecimal digits."""
        others = self.model_dump(mode="json", exclude={"task", "also_test"}, exclude_none=True)
        content = others | {"task": self.task.identity()}
        if self.also_test:
            content["also_test"] = [test.identity() for test in self.also_test]
        return content_hash(content)[:16]

    def changed(self, change: dict[str, Any]) -> "Cell":
        """Return a cell with other values of some fields; a copy would keep the cached hash."""
        return Cell(**{name: getattr(self, name) for name in Cell.model_fields} | change)

    def testing(self, test: SecondTest) -> "Cell":
        """Return the cell by which the rows of a second test are prepared."""
        return self.changed(
            {
                "task": test.task,
                "data": test.data,
                "also_test": (),
                "protocol": "strict",
                "resample": "fixed",
                "budget": self.budget.model_copy(update={"train_size": None}),
            }
        )

    def task_of(self, split: str) -> Task:
        """Return the task that a scored split belongs to, by the split's name in records."""
        return next((test.task for test in self.also_test if test.name == split), self.task)

    def __hash__(self) -> int:
        return hash(self.hash)


@dataclass(frozen=True)
class Run:
    """A cell at one seed."""

    cell: Cell
    seed: int

    @property
    def sample(self) -> int | None:
        """The seed if it decides which rows the run trains on; such runs share no data."""
        return None if self.cell.resample == "fixed" else self.seed

    @property
    def block(self) -> Block | None:
        """The cut that the run trains on, None without folds."""
        resample = self.cell.resample
        return resample.block(self.seed) if isinstance(resample, Folds) else None

    @cached_property
    def hash(self) -> str:
        """Content hash, 16 hexadecimal digits; equal for runs that must give equal results."""
        return content_hash([self.cell.hash, self.seed])[:16]

    def __str__(self) -> str:
        cell = self.cell
        return f"{cell.task.name}/{cell.backbone.name}/{cell.method}/{cell.hash}/seed-{self.seed}"
