"""The interface of a method: how a backbone is adapted, trained and scored.

A method is one file in `methods/`: a docstring with source and deviations, a `Config`, the
adapter's pieces and one class. The engine owns data splits, clocks, memory peaks and checkpoint
choice. A method trains on train data alone; one that fits something after training declares the
splits that it reads then. No method sees test data.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeVar

from optuna.distributions import BaseDistribution
from torch import Tensor, nn

from gapbench.bench.adaptation.accumulation import Losses, accumulated
from gapbench.bench.adaptation.chunked_loss import model_losses
from gapbench.bench.adaptation.losses import run_means
from gapbench.bench.adaptation.optim import StackedAdamW
from gapbench.bench.adaptation.train_state import Batches, Phase, StepReport, TrainState
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
    """Settings of a method. Every field has a meaning, unit, legal range and source of its default.

    Attributes:
        PER_RUN: fields that may differ between the runs of one stack.
    """

    PER_RUN: ClassVar[frozenset[str]] = frozenset()


ConfigT = TypeVar("ConfigT", bound=MethodConfig)


class Method(ABC, Generic[ConfigT]):
    """One way to adapt a backbone, for a stack of runs with one config each.

    Attributes:
        name: name in suites and tables.
        reference: paper, with equation or section.
        Config: the class of its settings.
        stackable: whether several runs can share one copy of the backbone.
        trains: whether there are any training steps.
        training: optimiser settings of the method; they override the suite's, and a suite's entry
            for the method overrides both.
        no_initial_adapter: reason why runs cannot start from an adapter, None if they can.
        learning_rates: range of the peak learning rate in a search, on a logarithmic scale; two
            decades for every method.
        fits_on: splits that `fit` reads, train and validation at most; none if it fits nothing.
        diagnostics: how reports draw `diagnostic_values`; values without a drawing go into a table.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    stackable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    training: ClassVar[Mapping[str, Any]] = {}
    no_initial_adapter: ClassVar[str | None] = (
        "it trains no A and B that an adapter could initialise"
    )
    learning_rates: ClassVar[tuple[float, float]] = (1e-4, 1e-2)
    fits_on: ClassVar[tuple[Literal["train", "validation"], ...]] = ()
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = ()

    def __init__(self, full_name: str, configs: Sequence[ConfigT], axis: RunAxis) -> None:
        self.full_name = full_name
        self.configs = list(configs)
        self.axis = axis

    @classmethod
    def check_name(cls, name: str) -> None:
        """Refuse a name that does not fit the class; only ``peft`` takes an argument in its name.

        Raises:
            ConfigError: naming the allowed names.
        """
        if name != cls.name:
            raise ConfigError(f"method {cls.name!r} takes no argument in its name, got {name!r}")

    @classmethod
    def search_space(cls) -> Mapping[str, BaseDistribution]:
        """Return the ranges that a tuner may search besides the learning rate, by field."""
        return {}

    @classmethod
    def relative_cost(cls, config: ConfigT) -> float:  # noqa: ARG003
        """Return the forward and backward passes of a step, relative to one of each."""
        return 1.0

    @classmethod
    def predicting_members(cls, config: ConfigT) -> int:  # noqa: ARG003
        """Return the number of copies or samples of the trained model whose outputs are averaged.

        Along training a few may choose the checkpoint: `predict` uses `TrainState.few_of` them, the
        first ones. Members that are trained side by side do not count: all of them predict.
        """
        return 1

    @classmethod
    def width(cls, config: ConfigT) -> int:  # noqa: ARG003
        """Return the sort key of runs inside a stack, which makes similar runs neighbours."""
        return 0

    @classmethod
    def drops(cls, config: ConfigT) -> tuple[Drop, ...]:  # noqa: ARG003
        """Return the dropout of training at every position, for reports to draw."""
        return ()

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:  # noqa: ARG003
        """Return the reason why this method does not support a case, None if it does."""
        return None

    @classmethod
    def unsupported_reason(cls, task: Task, backbone: Backbone, config: ConfigT) -> str | None:
        """Return why a cell is unsupported, None if it is not: `supports`, then its adapter."""
        reason = cls.supports(task, backbone, config)
        if reason is None and backbone.start is not None:
            reason = cls.unsupported_adapter_reason(backbone.start, backbone, config)
            return reason and f"cannot start from adapter {backbone.start.name!r}: {reason}"
        return reason

    @classmethod
    def accumulation_unsupported_reason(cls, config: ConfigT) -> str | None:  # noqa: ARG003
        """Return why a step cannot take a batch part by part, None if `batch_losses` makes it."""
        return None

    @classmethod
    def undropped_reason(cls, config: ConfigT) -> str | None:  # noqa: ARG003
        """Return why a run in which nothing drops is refused, None if it may train.

        It is asked where `drops` is empty and the suite's `backbone_dropout` is 0. A method that
        compares or averages several passes of a step would pay for equal ones. A control that is
        LoRA at LoRA's cost may train.
        """
        return None

    @classmethod
    def unsupported_adapter_reason(
        cls,
        start: InitialAdapter,  # noqa: ARG003 - for subclasses
        backbone: Backbone,  # noqa: ARG003 - for subclasses
        config: ConfigT,  # noqa: ARG003 - for subclasses
    ) -> str | None:
        """Return the reason why runs cannot start from an adapter, None if they can."""
        return cls.no_initial_adapter

    @classmethod
    def phases(cls, config: ConfigT) -> tuple[Phase, ...]:  # noqa: ARG003
        """Return the stages of training; their shares add up to 1."""
        return (Phase(),)

    @property
    def members(self) -> int:
        """Number of models, each with its own head, that a run trains side by side."""
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
        """Inject the method's parameters and mark those that train.

        ``model`` comes with frozen weights and with new stacked heads that train. Some weights may
        be stored in bfloat16: `bench.models.bf16.full` gives their numbers. Before the first step
        its outputs must equal the backbone's, or those of the backbone with the adapter
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
            state: stack that the phase trains.
            phase: one of `phases`.
            trainings: optimiser settings of the active runs.
            steps: number of updates in the phase.
        """
        state.optimizers = {"main": StackedAdamW(state.bank, trainings, steps, self.axis)}

    def stopped(self, state: TrainState) -> Mapping[int, str]:  # noqa: ARG002
        """Return the runs that cannot continue after `begin`: position in the stack and the reason.

        They end with the status `diverged`, and with the reason as its detail.
        """
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state that a checkpoint must keep of the method, one row per run that began.

        This is state outside the bank and the optimisers that steps gather, or that `begin` derives
        from trained parameters. State that `begin` derives from settings and initial values is left
        out: before loading, all phases so far are begun again on a new stack.
        """
        return {}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state from `state_dict`, by default into the tensors that it returns."""
        for name, own in self.state_dict().items():
            own.copy_(tensors[name])

    def losses(self, state: TrainState, batch: Batch) -> Tensor:
        """Return each run's mean task loss on a batch, (runs,)."""
        losses = model_losses(state.model, batch, state.task, self.axis.size)
        return run_means(losses, batch.targets, self.axis.size)

    def batch_losses(self, state: TrainState, batch: Batch, losses: Losses | None = None) -> Tensor:
        """Return the losses of a batch that is taken part by part if the suite says so, (runs,).

        Every step of a method goes through this, or refuses `accumulation`.

        Args:
            state: stack that is trained.
            batch: the whole batch.
            losses: gives the mean loss of each run on a part; by default `losses`.
        """
        each = partial(self.losses, state) if losses is None else losses
        return accumulated(each, batch, state.accumulation, state.model, self.axis)

    def penalty(self, state: TrainState) -> Tensor | float:  # noqa: ARG002
        """Return the penalty added to each run's task loss, (runs,)."""
        return 0.0

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make one counted update: the plain loop, unless a method needs another."""
        losses = self.batch_losses(state, batches["train"])
        (losses + self.penalty(state)).sum().backward()
        return StepReport(losses.detach(), state.optimizers["main"].step())

    def scoring(self, state: TrainState) -> AbstractContextManager[None]:  # noqa: ARG002
        """Use the scored parameters, such as averages, inside the block; then restore the others.

        Inside the block, the bank holds the parameters that a checkpoint keeps.
        """
        return nullcontext()

    def fit(self, state: TrainState, batches: Batches) -> None:
        """Fit what predictions need beside the parameters in the bank, such as a posterior.

        The engine calls it once, after training, with the parameters of the chosen checkpoints,
        the model in evaluation mode and gradients on. What it fits is a function of these and of
        settings, since no checkpoint keeps it. Until then, `predict` must do without.

        Args:
            state: stack of the runs that ended well.
            batches: goes over one of the splits in `fits_on`; its passes are charged to the runs.
        """

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

        They come from the parameters in the bank: after scoring, those of the chosen checkpoint.

        Args:
            state: a trained stack.
            position: index of the run among the active runs.

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
                f"method {self.full_name!r} has its own prediction rule, which no single set of "
                "weights can represent"
            )


AnyMethod = Method[Any]
