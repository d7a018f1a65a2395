"""What the engine hands to a method: the stages of training, a stack's state, a step's results."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from gapbench.bench.adaptation.optim import ParameterBank, StackedAdamW
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.run_axis import RunAxis


@dataclass(frozen=True)
class DataPartition:
    """A part of the training set that some batches of a phase come from.

    Attributes:
        start, stop: fractions of the training set in an order keyed by the run's seed.
        every: number of steps from one batch to the next; the first step draws one.
    """

    start: float = 0.0
    stop: float = 1.0
    every: int = 1


@dataclass(frozen=True)
class Phase:
    """A stage of training.

    Attributes:
        name: name of the phase in progress displays.
        share: share of the step budget.
        parts: for each batch of a step, the part of the training set that it comes from.
        eligible: whether the chosen checkpoint may come from this phase.
    """

    name: str = "train"
    share: float = 1.0
    parts: Mapping[str, DataPartition] = field(default_factory=lambda: {"train": DataPartition()})
    eligible: bool = True


@dataclass
class TrainState:
    """The state of a stack that a step works on.

    Attributes:
        model: the adapted backbone; called with ``Batch.inputs`` it returns an object with `logits`
            of shape (runs * batch, ..., outputs): one softmax (or value) for each of the targets.
        train_targets: targets of the whole training set as models learn them, (examples,).
        optimizers: one per group of the bank's parameters, created for every phase.
        accumulation: parts of a batch whose gradients are added up, one after another.
        packs: whether several sequences may share a row where the model scores texts.
        most_members: members of an ensemble that predict, at most; None for all.
        reads_first_only: whether predictions need only the first token of the last layer; None
            until that was tried (`bench.models.first_token`).
    """

    task: Task
    model: nn.Module
    axis: RunAxis
    train_targets: Tensor
    bank: ParameterBank
    optimizers: dict[str, StackedAdamW] = field(default_factory=dict)
    accumulation: int = 1
    packs: bool = True
    most_members: int | None = None
    reads_first_only: bool | None = None

    def few_of(self, members: int) -> int:
        """Return how many of an ensemble's members predict now: the first ones."""
        return min(members, self.most_members or members)


@dataclass(frozen=True)
class StepReport:
    """Results of one counted update.

    Attributes:
        losses: (runs,) task loss of each run on its batch.
        gradient_norms: (runs,) before clipping.
    """

    losses: Tensor
    gradient_norms: Tensor
    forward_passes: int = 1
    backward_passes: int = 1


Batches = Callable[[str], Iterator[Batch]]
"""Given the name of a split, goes once over its examples, the same for all active runs."""
