"""An ensemble of LoRA adapters and heads inside each run, on one copy of the backbone.

Members are a second axis of every trained tensor, and extra rows of the batch. Each learns as it
would alone: from its own mean loss and with its own gradient clipping. `methods.lora_ensemble`
lists source and deviations.
"""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.chunked_loss import model_losses
from gapbench.bench.adaptation.losses import run_means
from gapbench.bench.adaptation.train_state import Phase, StepReport, TrainState
from gapbench.bench.config.run import Training
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.initial_adapter import InitialAdapter
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, StackedLora
from gapbench.methods._shared.mean_prediction import mean_prediction


class EnsembleConfig(LowRankConfig):
    """LoRA's settings, the same for all members, and their number."""

    members: int = Field(default=4, ge=1, description="number of adapters and heads in a run")


class MemberLora(StackedLora):
    """A low-rank layer with several members per run, which share its scaling."""

    def strength(self) -> Tensor:
        """Return the scaling of the inner features of every member, (runs * members, 1, 1)."""
        members = self.lora_A.shape[1] if self.lora_A.dim() == 4 else 1
        return super().strength().repeat_interleave(members, dim=0)


class Ensemble(LowRank[EnsembleConfig]):
    """Several LoRA adapters whose probabilities are averaged.

    Attributes:
        divides: whether each batch is divided between the members, so that an update costs as
            much as LoRA's, not a multiple of it.
    """

    Config = EnsembleConfig
    divides: ClassVar[bool] = False

    _owners: Tensor  # (parameters,), the member that owns each parameter of a run
    _max_norms: Tensor  # (all runs, 1)

    @property
    def members(self) -> int:
        """Number of models that each run trains side by side."""
        return self.configs[0].members

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: EnsembleConfig) -> str | None:
        """Refuse one member, which would be LoRA under another name."""
        if config.members == 1:
            return "members is 1, which is 'lora'; set it to 2 or more"
        return super().supports(task, backbone, config)

    @classmethod
    def unsupported_adapter_reason(
        cls, start: InitialAdapter, backbone: Backbone, config: EnsembleConfig
    ) -> str | None:
        """Refuse members that begin alike and of which none draws anything of its own."""
        own_heads = backbone.head and backbone.kept is None
        if not (own_heads or config.dropout or cls.divides):
            return "all members would stay equal, as one model; set dropout above 0, or use 'lora'"
        return super().unsupported_adapter_reason(start, backbone, config)

    @classmethod
    def relative_cost(cls, config: EnsembleConfig) -> float:
        """Return the number of members, each with its own passes, unless they divide the batch."""
        return 1.0 if cls.divides else float(config.members)

    @classmethod
    def accumulation_unsupported_reason(cls, config: EnsembleConfig) -> str | None:
        """Refuse to take apart a batch that is dealt to members."""
        if not cls.divides or config.members == 1:
            return None
        return "each batch is divided between the members"

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return MemberLora(self.axis, base, site, **self.layer_settings())

    def begin(
        self, state: TrainState, phase: Phase, trainings: Sequence[Training], steps: int
    ) -> None:
        """Make the optimiser without clipping; `step` clips each member separately."""
        unclipped = [t.model_copy(update={"max_grad_norm": None}) for t in trainings]
        super().begin(state, phase, unclipped, steps)
        norms = [math.inf] * len(self.configs)
        for index, training in zip(self.axis.active, trainings, strict=True):
            norms[index] = training.max_grad_norm or math.inf
        self._max_norms = self.axis.vector(norms).unsqueeze(1)
        self._owners = self._assign(state)

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make one update of every member."""
        losses = self.batch_losses(
            state, batches["train"], lambda part: self._member_losses(state, part).sum(dim=1)
        )
        losses.sum().backward()
        norms = self._clip(state)
        state.optimizers["main"].step()
        passes = 1 if self.divides else self.members
        return StepReport(losses.detach() / self.members, norms, passes, passes)

    def losses(self, state: TrainState, batch: Batch) -> Tensor:
        """Return the mean over members of their losses, (runs,)."""
        return self._member_losses(state, batch).mean(dim=1)

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return the log of the members' mean probabilities, or the mean of their outputs."""
        inputs = batch.replicated(self.axis.size, self.members).inputs
        logits: Tensor = state.model(**inputs).logits
        if self.members == 1:
            return logits
        each = logits.view(self.axis.size, self.members, -1, *logits.shape[1:])
        return mean_prediction(each, state.task.loss)

    def _member_losses(self, state: TrainState, batch: Batch) -> Tensor:
        """Return each member's own mean loss, (runs, members)."""
        runs, members = self.axis.size, self.members
        seen = self._dealt(batch) if self.divides else batch.replicated(runs, members)
        losses = model_losses(state.model, seen, state.task, runs)
        return run_means(losses, seen.targets, runs * members).view(runs, members)

    def _dealt(self, batch: Batch) -> Batch:
        """Split each run's examples between its members; an uneven batch repeats some."""
        runs, examples = self.axis.size, len(batch.targets) // self.axis.size
        dealt = torch.arange(-(-examples // self.members) * self.members) % examples
        rows = (torch.arange(runs).unsqueeze(1) * examples + dealt).flatten().to(self.axis.device)
        inputs = {
            name: values[rows] if isinstance(values, Tensor) else values
            for name, values in batch.inputs.items()
        }
        return Batch(inputs, batch.targets[rows], batch.tokens)

    def _clip(self, state: TrainState) -> Tensor:
        """Clip the gradient of each member; return each run's largest norm before, (runs,)."""
        grads = state.bank.grads
        order = self._owners.argsort(stable=True)
        own = grads[:, order].view(len(grads), self.members, -1)
        norms: Tensor = torch.linalg.vector_norm(own, dim=2)
        most = self.axis.select(self._max_norms)
        grads.mul_((most / (norms + 1e-6)).clamp_(max=1.0)[:, self._owners])
        return norms.amax(dim=1)

    def _assign(self, state: TrainState) -> Tensor:
        """Return the member of each column of the bank; exempt vectors from decay."""
        owners: list[Tensor] = []
        start = 0
        for parameter in state.bank.parameters("main"):
            count = parameter[0].numel()
            owners.append(torch.arange(count) // (count // self.members))
            if self.members > 1 and parameter.dim() == 3:  # (runs, members, out): not a matrix
                state.bank.decayed[start : start + count] = 0
            start += count
        return torch.cat(owners).to(self.axis.device)

    def _refuse_own_predictions(self) -> None:
        if self.members > 1:
            raise MergeError(
                f"method {self.name!r}: an ensemble of {self.members} members cannot be written as "
                "one model; use 'lora'"
            )
