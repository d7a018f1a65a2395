"""The interface of a method: how a backbone is adapted, trained and scored.

A method is one file in `methods/`: a docstring with source and deviations, a `Config`, the
adapter's pieces and one class. The engine owns data splits, clocks, memory peaks and checkpoint
choice; a method never sees validation or test data.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from optuna.distributions import BaseDistribution
from torch import Tensor, nn

from gapbench.bench.adaptation.losses import run_losses
from gapbench.bench.adaptation.optim import ParameterBank, StackedAdamW
from gapbench.bench.config.run import Training
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import ConfigError, MergeError
from gapbench.bench.core.schema import FrozenModel
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.initial_adapter import InitialAdapter
from gapbench.bench.models.merge import Adapter, peft_adapter, plain_weights
from gapbench.bench.models.run_axis import RunAxis
from gapbench.bench.store.diagnostic import Diagnostic, Drop


class MethodConfig(FrozenModel):
    """Settings of a method. Every field has meaning, unit, legal range and source of its default.

    Attributes:
        PER_RUN: fields that may differ between the runs of one stack.
    """

    PER_RUN: ClassVar[frozenset[str]] = frozenset()


ConfigT = TypeVar("ConfigT", bound=MethodConfig)


@dataclass(frozen=True)
class DataPartition:
    """A part of the training set that some batches of a phase come from.

    Attributes:
        start, stop: fractions of the training set in an order keyed by the run's seed.
        every: a batch is drawn at every so many steps, the first included.
    """

    start: float = 0.0
    stop: float = 1.0
    every: int = 1


@dataclass(frozen=True)
class Phase:
    """A stage of training.

    Attributes:
        name: shown in progress.
        share: part of the step budget.
        parts: for each batch that a step draws, where in the training set it comes from.
        eligible: whether the checkpoint to be scored may come from this phase.
    """

    name: str = "train"
    share: float = 1.0
    parts: Mapping[str, DataPartition] = field(default_factory=lambda: {"train": DataPartition()})
    eligible: bool = True


@dataclass
class TrainState:
    """What a step works on.

    Attributes:
        model: the adapted backbone; called with ``Batch.inputs`` it returns an object with `logits`
            of shape (runs * batch, ..., outputs): one softmax (or value) for each of the targets.
        train_targets: targets of the whole training set, (examples,).
        optimizers: one for each group of the bank's parameters, created for every phase.
        packs: whether several sequences may share a row where the model scores texts.
    """

    task: Task
    model: nn.Module
    axis: RunAxis
    train_targets: Tensor
    bank: ParameterBank
    optimizers: dict[str, StackedAdamW] = field(default_factory=dict)
    packs: bool = True


@dataclass(frozen=True)
class StepReport:
    """What one counted update did.

    Attributes:
        losses: (runs,) task loss of each run on its batch.
        gradient_norms: (runs,) before clipping.
    """

    losses: Tensor
    gradient_norms: Tensor
    forward_passes: int = 1
    backward_passes: int = 1


class Method(ABC, Generic[ConfigT]):
    """One way to adapt a backbone, for a stack of runs with one config each.

    Attributes:
        name: as suites and tables call it.
        reference: paper, with the equation or section.
        Config: the class of its settings.
        stackable: whether several runs can share one copy of the backbone.
        trains: whether there are training steps at all.
        training: optimiser settings that belong to the method; they are laid over the suite's, and
            a suite's entry for the method over both.
        no_start: why its runs cannot start from an adapter, None if they can.
        learning_rates: range of the peak rate that a tuner searches, on a logarithmic scale; two
            decades for every method.
        diagnostics: how reports draw `diagnostic_values`; values without a drawing are in a table.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    stackable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    training: ClassVar[Mapping[str, Any]] = {}
    no_start: ClassVar[str | None] = "it trains no A and B that could begin as an adapter's"
    learning_rates: ClassVar[tuple[float, float]] = (1e-4, 1e-2)
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = ()

    def __init__(self, full_name: str, configs: Sequence[ConfigT], axis: RunAxis) -> None:
        self.full_name = full_name
        self.configs = list(configs)
        self.axis = axis

    @classmethod
    def check_name(cls, name: str) -> None:
        """Refuse a name that the class cannot serve; only ``peft`` takes an argument in its name.

        Raises:
            ConfigError: naming what is allowed.
        """
        if name != cls.name:
            raise ConfigError(f"method {cls.name!r} takes no argument in its name, got {name!r}")

    @classmethod
    def search_space(cls) -> Mapping[str, BaseDistribution]:
        """Return what a tuner may vary besides the learning rate, by field of `Config`."""
        return {}

    @classmethod
    def relative_cost(cls, config: ConfigT) -> float:  # noqa: ARG003
        """Return forward plus backward passes of a step, relative to one of each."""
        return 1.0

    @classmethod
    def width(cls, config: ConfigT) -> int:  # noqa: ARG003
        """Return what runs are ordered by inside a stack, so that those alike are neighbours."""
        return 0

    @classmethod
    def drops(cls, config: ConfigT) -> tuple[Drop, ...]:  # noqa: ARG003
        """Return what training drops, position by position, for reports to draw."""
        return ()

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:  # noqa: ARG003
        """Return the reason why this method cannot do a case, None if it can."""
        return None

    @classmethod
    def unsupported_reason(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:
        """Return why a cell cannot be done, None if it can: `supports`, then its adapter."""
        reason = cls.supports(task, backbone, config)
        if reason is None and backbone.start is not None:
            reason = cls.unsupported_adapter_reason(backbone.start, backbone, config)
            return reason and f"cannot start from adapter {backbone.start.name!r}: {reason}"
        return reason

    @classmethod
    def unsupported_adapter_reason(
        cls,
        start: InitialAdapter,  # noqa: ARG003 - for subclasses
        backbone: Backbone,  # noqa: ARG003 - for subclasses
        config: ConfigT,  # noqa: ARG003 - for subclasses
    ) -> str | None:
        """Return the reason why runs cannot start from an adapter, None if they can."""
        return cls.no_start

    @classmethod
    def phases(cls, config: ConfigT) -> tuple[Phase, ...]:  # noqa: ARG003
        """Return the stages of training; their shares add up to 1."""
        return (Phase(),)

    @property
    def members(self) -> int:
        """How many models each run trains side by side; above 1, its heads are as many."""
        return 1

    @property
    def starts_at_backbone(self) -> bool:
        """Whether the adapted model gives the backbone's logits before the first step."""
        return True

    @property
    def active_configs(self) -> list[ConfigT]:
        """Settings of the active runs, in the order of the stack."""
        return [self.configs[index] for index in self.axis.active]

    @abstractmethod
    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Inject the method's parameters and choose what trains.

        ``model`` comes with frozen weights and with fresh stacked heads that train. Before the
        first step its outputs must equal the backbone's, or those of the backbone with the adapter
        ``backbone.start``, if there is one and `unsupported_adapter_reason` does not refuse it.
        Every run is checked for that, unless `starts_at_backbone` is false.

        Returns:
            The model to call, usually ``model`` itself.
        """

    def begin(
        self,
        state: TrainState,
        phase: Phase,  # noqa: ARG002
        trainings: Sequence[Training],
        steps: int,
    ) -> None:
        """Prepare for a phase: make its optimisers.

        Args:
            state: what the phase trains.
            phase: one of `phases`.
            trainings: optimiser settings of the active runs.
            steps: how many updates the phase will make.
        """
        state.optimizers = {"main": StackedAdamW(state.bank, trainings, steps, self.axis)}

    def stopped(self, state: TrainState) -> Mapping[int, str]:  # noqa: ARG002
        """Return the runs that cannot continue after `begin`: position in the stack and the reason.

        They end with the status of a run that diverges, and the reason as its detail.
        """
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep of the method; a row for each run that began.

        That is what its steps gather, or `begin` makes of trained numbers, outside of the bank and
        the optimisers. What `begin` makes of settings and of first values is no part of it: before
        it is loaded, all phases that had begun are begun again on a stack that was just set up.
        """
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` returned, by default into the tensors that it returns."""
        for name, own in self.state_dict().items():
            own.copy_(tensors[name])

    def losses(self, state: TrainState, batch: Batch) -> Tensor:
        """Return each run's mean task loss on a batch, (runs,)."""
        logits = state.model(**batch.inputs).logits
        return run_losses(logits, batch.targets, state.task, self.axis.size)

    def penalty(self, state: TrainState) -> Tensor | float:  # noqa: ARG002
        """Return what each run adds to its task loss, (runs,)."""
        return 0.0

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make one counted update: the plain loop, unless a method needs another."""
        losses = self.losses(state, batches["train"])
        (losses + self.penalty(state)).sum().backward()
        return StepReport(losses.detach(), state.optimizers["main"].step())

    def scoring(self, state: TrainState) -> AbstractContextManager[None]:  # noqa: ARG002
        """Put in place what is scored, such as averaged weights, and restore it afterwards.

        The numbers in the bank meanwhile are those that a checkpoint keeps.
        """
        return nullcontext()

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return the logits of a batch in evaluation mode; (runs * batch, ..., outputs)."""
        logits: Tensor = state.model(**batch.inputs).logits
        return logits

    def diagnostic_values(self, state: TrainState, position: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the diagnostics of the run at ``position`` of the stack, as plain data.

        A record keeps them. Reports show each in a table, or draw it as `diagnostics` declares.
        """
        return {}

    def merge(self, state: TrainState, position: int) -> dict[str, Tensor]:
        """Return plain weights of the unadapted model, head included, with a run folded in.

        They are made of the numbers in the bank: after scoring, those of the chosen checkpoint.

        Args:
            state: a trained stack.
            position: the run's place among the active runs.

        Raises:
            MergeError: if no single set of weights gives the outputs that are scored.
        """
        self._refuse_own_predictions()
        return plain_weights(state.model, position)

    def export(self, state: TrainState, position: int) -> Adapter:
        """Return a run as an adapter that PEFT loads on the same backbone; see `merge`.

        Raises:
            MergeError: if PEFT has no such adapter.
        """
        self._refuse_own_predictions()
        return peft_adapter(state.model, position, state.task.head)

    def _refuse_own_predictions(self) -> None:
        if type(self).predict is not Method.predict:
            raise MergeError(
                f"method {self.full_name!r} predicts in a way of its own, which no single set of "
                "weights can stand for"
            )


AnyMethod = Method[Any]
