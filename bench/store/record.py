"""The schema of a stored run. Imports no torch.

A missing value is None, never a placeholder. Two executions of one run may differ in cost fields
and in nothing else.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from gapbench.bench.config.run import Block, Cell, Run
from gapbench.bench.core.errors import printable
from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.store.diagnostic import Diagnostic, Drop

SCHEMA_VERSION = 1

Scores = dict[str, float | None]


class Status(StrEnum):
    """How a run ended."""

    OK = "ok"
    SKIPPED = "skipped"
    FAILED = "failed"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    PRUNED = "pruned"
    INTERRUPTED = "interrupted"

    @property
    def settled(self) -> bool:
        """Whether running again would end the same way, so a resumed suite leaves the run alone."""
        return self in {Status.OK, Status.SKIPPED, Status.DIVERGED, Status.PRUNED}


class CurvePoint(FrozenModel):
    """Loss and `Task.selection` at one point along training, in evaluation mode.

    Validation is scored in full at every point, because it chooses the checkpoint. Train and test
    values are of a fixed subset of about 128 sequences at most, at five points at most and at the
    chosen one; they are None elsewhere. Runs of a search have no test values.
    """

    step: int
    train_score: float | None = None
    validation_score: float | None
    test_score: float | None = None
    train_loss: float | None = None
    validation_loss: float
    test_loss: float | None = None


class SplitScores(FrozenModel):
    """Metrics, mean loss and number of examples of one split at the chosen checkpoint."""

    metrics: Scores
    loss: float
    examples: int
    parts: dict[str, Scores] = Field(
        default={},
        description="the metrics of parts that the task sets apart, by part; of choices also "
        "`ece`, and `ece_floor` to be expected of a calibrated model so confident",
    )
    bare: Scores = Field(
        default={},
        description="of a second test: the metrics of the backbone without any adapter; empty "
        "where that has no head of its own",
    )
    ece: float | None = Field(
        default=None,
        description="of a second test: calibration error of the top label or of the target "
        "tokens, without a temperature; None where the kind has none",
    )

    @model_serializer(mode="wrap")
    def _without_empty(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what most splits lack, so that older versions can read the others."""
        content: dict[str, Any] = dump(self)
        empty: dict[str, Any] = {"bare": {}, "ece": None}
        return {n: value for n, value in content.items() if n not in empty or value != empty[n]}


class Calibration(FrozenModel):
    """Test calibration before and after scaling by the temperature fitted on validation.

    `ece` and `mce` are of the top label, `ece_classwise` of every class. For generation it
    is the calibration of the target tokens, without a temperature.
    """

    temperature: float | None = None
    ece: float
    ece_calibrated: float | None = None
    ece_equal_mass: float
    ece_equal_mass_calibrated: float | None = None
    mce: float
    mce_calibrated: float | None = None
    brier: float
    brier_calibrated: float | None = None
    nll: float
    nll_calibrated: float | None = None
    ece_floor: float | None = Field(
        default=None, description="`ece` to be expected of a calibrated model so confident"
    )
    ece_floor_calibrated: float | None = None
    ece_classwise: float | None = None
    ece_classwise_calibrated: float | None = None


class Truth(FrozenModel):
    """Scores of the best possible predictor on this test set (built-in tasks only)."""

    score: float | None = Field(description="main metric of the Bayes-optimal predictions")
    ece: float | None = None
    brier: float | None = None
    nll: float | None = None


class Cost(FrozenModel):
    """The cost of a run. Seconds are the run's share of its stack's time."""

    train_seconds: float = Field(description="in training steps, and in a fit after them")
    evaluation_seconds: float = Field(description="in scoring, along training and at the end")
    steps: int = Field(description="optimiser updates made")
    train_tokens: int = Field(description="tokens trained on, padding not counted")
    tokens_per_second: float | None = Field(description="train_tokens over seconds in steps")
    peak_memory_bytes: int | None = Field(description="of the device, or of the process on a CPU")
    trainable_params: int
    train_flops: float = Field(
        description="floating-point operations of all training steps, and of a fit after them"
    )
    forward_passes: int
    backward_passes: int
    inference_passes: int | None = Field(
        default=None, description="passes, forward and backward, in which one example is predicted"
    )
    stack_size: int = Field(description="runs that shared the backbone when training began")
    drawn: dict[str, int] | None = Field(
        default=None,
        description="training examples drawn, counted at every draw, by the part of the training "
        "set; the last batch of an epoch may be partial, also that of a part",
    )
    fit_examples: dict[str, int] | None = Field(
        default=None,
        description="examples that went through the model in a fit after training, by split, "
        "counted at every pass",
    )


class Checkpoint(FrozenModel):
    """The evaluation point whose parameters were scored, chosen on validation alone."""

    step: int
    validation_score: float | None


class Provenance(FrozenModel):
    """Where a result comes from."""

    started_at: datetime
    versions: dict[str, str]
    code_hash: str = Field(description="of the source of bench and methods")
    device: str
    device_type: str
    threads: int
    git_commit: str | None = None
    git_dirty: bool | None = None


class Record(FrozenModel):
    """One run, as stored. Files call a field by its alias, which version 0.1 knows."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)
    _latest: ClassVar[tuple[str, Any, Cell] | None] = None

    schema_version: int = SCHEMA_VERSION
    run_hash: str
    cell_hash: str
    seed: int
    block: Block | None = Field(default=None, description="cut of the rows, in a suite with folds")
    cell: Cell
    status: Status
    detail: str | None = Field(default=None, description="reason of a skip, cause of a failure")
    attempts: int = Field(default=1, ge=1, description="that failed alike, this one included")
    seeds: dict[str, int] = Field(default={})
    splits: dict[str, SplitScores] = Field(default={})
    untested: dict[str, str] = Field(
        default={}, description="why second tests, or the bare backbone on them, have no scores"
    )
    train_overlap: dict[str, int] = Field(
        default={}, alias="leaked", description="by split, its examples whose input is in train too"
    )
    train_share: float | None = Field(
        default=None,
        description="share of the rows that training rows are drawn from; None if all seeds train "
        "on the same rows",
    )
    generalization_gap: float | None = Field(
        default=None, description="train minus test main score, sign flipped where lower is better"
    )
    gaps: Scores = Field(default={}, description="the same for every metric scored on both")
    loss_gap: float | None = Field(default=None, description="test minus train loss")
    checkpoint: Checkpoint | None = None
    curve: tuple[CurvePoint, ...] = ()
    calibration: Calibration | None = None
    truth: Truth | None = None
    cost: Cost | None = None
    notes: dict[str, Any] = Field(default={}, description="diagnostics of the method, by name")
    diagnostics: tuple[Diagnostic, ...] = Field(default=(), description="how notes are drawn")
    drops: tuple[Drop, ...] = Field(default=(), description="what the method drops in training")
    provenance: Provenance

    @field_validator("cell", mode="wrap")
    @classmethod
    def _checked_once(
        cls, content: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Cell:
        """Return the cell of the record read before, if it is the same: seeds share theirs."""
        own, latest = info.data.get("cell_hash", ""), cls._latest
        if latest is not None and latest[:2] == (own, content):
            return latest[2]
        cell: Cell = check(content)
        cls._latest = own, content, cell
        return cell

    @model_serializer(mode="wrap")
    def _without_empty(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what most records lack, so that version 0.1 can read those."""
        content: dict[str, Any] = dump(self)
        return {
            name: value
            for name, value in content.items()
            if value or name not in {"block", "untested", "train_share", "diagnostics", "drops"}
        }

    @property
    def run(self) -> Run:
        """The run that this record is about."""
        return Run(self.cell, self.seed)

    @property
    def cause(self) -> str:
        """The last line of the detail: of a traceback, the error itself."""
        lines = (self.detail or "").strip().splitlines()
        return printable(lines[-1]) if lines else "no cause given"

    def after(self, earlier: "Record | None") -> "Record":
        """Return this record as the successor of ``earlier``, with failures of one kind counted."""
        if earlier is None or earlier._kind != self._kind:
            return self
        return self.model_copy(update={"attempts": earlier.attempts + 1})

    @property
    def _kind(self) -> tuple[Status, str]:
        """Key that failures of one kind share; sizes and addresses in the message may differ."""
        return self.status, re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "#", self.cause)

    def score(self, split: str, metric: str | None = None) -> float | None:
        """Return a metric on a split, by default the main one; None if it was not scored."""
        scores = self.splits.get(split)
        if scores is None:
            return None
        return scores.metrics.get(metric or self.cell.task_of(split).metrics[0])
