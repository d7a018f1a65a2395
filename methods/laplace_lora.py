"""Laplace-LoRA: a normal posterior around trained LoRA, from the curvature of the training loss.

Source: Yang et al. 2023, "Bayesian Low-Rank Adaptation for Large Language Models",
arXiv:2308.13111, and the code of MaximeRobeyns/bayesian_lora, commit 4e99db8. The posterior's
precision at the trained A and B is the curvature of the summed loss, one Kronecker product for each
A and each B, plus the precision of the prior, which maximises the marginal likelihood of the
training set. A prediction is linear in A and B: logits are normal around those of LoRA, with
covariance ``J P^-1 J'``, and probabilities average draws of them.

The paper's text was not available; equations are those of the code and of Immer et al. 2021,
arXiv:2104.04975 and arXiv:2008.08400.

Deviations:
1. The curvature is exact in the labels: one pass backward for each class. The code draws one label
   for each example.
2. Every token counts in the factors (`methods._shared.kronecker`); the code takes the last one,
   which is the answer's place in its language models.
3. Both factors are whole; the code keeps the 10 largest directions of the one that is wider than
   100.
4. The marginal likelihood has ``precision / 2 * |W|^2`` and is evaluated on a grid of 0.1 decades;
   the code has ``precision * |W|`` and follows the gradient of its logarithm for 200 steps.
5. Probabilities are averaged; the code averages drawn logits, whose mean is LoRA's logits.
6. The head is not in the posterior; theirs is the frozen one of a language model.
7. The run trains by itself, to the parameters of `lora` with the same seed. The runs of a stack
   share ranks.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import Batches, TrainState
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.task import Task
from gapbench.bench.data.batching import Batch
from gapbench.bench.models import recomputation
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.kronecker import Kronecker
from gapbench.methods._shared.lowrank import LowRank, LowRankConfig, StackedLora
from gapbench.methods._shared.mean_prediction import mean_prediction

Call = tuple[Tensor, Tensor]
"""Input and output of one call of A or B, (runs, batch * tokens, features)."""

_GRID = [10 ** (k / 10) for k in range(-40, 61)]  # precisions of the prior
_JITTER = 1e-9  # share of the variance, so that a covariance has a root
_ROUNDING = 4  # units of rounding for each class, where the curvature is less exact than that
_PLACES = ("pos_key_proj", "pos_query_proj", "pos_proj", "pos_q_proj")  # of DeBERTa's attention


class LaplaceConfig(LowRankConfig):
    """LoRA's settings and those of the posterior."""

    PER_RUN: ClassVar[frozenset[str]] = (LowRankConfig.PER_RUN - {"rank"}) | {"prior_precision"}

    prior_precision: float | None = Field(
        default=None,
        gt=0,
        description="precision of the prior of A and B; None: the one of largest marginal "
        "likelihood",
    )
    draws: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="draws of the logits to average probabilities over; they take no pass",
    )


class LaplaceLayer(StackedLora):
    """A low-rank layer that can keep what goes into A and B and what comes out.

    Attributes:
        calls: what went in and out of A and of B; None if the layer keeps nothing.
    """

    calls: tuple[list[Call], list[Call]] | None = None

    def add_update(self, out: Tensor, x: Tensor) -> Tensor:
        """Return the layer's output, and keep what went in and out of A and B."""
        if self.calls is None:
            return super().add_update(out, x)
        rows = self.runs_first(x).to(self.lora_A.dtype)  # the curvature is summed in float32
        inner = rows @ self.lora_A.mT
        scaled = inner * self.strength()
        update = scaled @ self.lora_B.mT
        self.calls[0].append((rows.detach(), inner))
        self.calls[1].append((scaled.detach(), update))
        return self.runs_first(out) + update.to(out.dtype)


class LaplaceLora(LowRank[LaplaceConfig]):
    """LoRA with a Laplace posterior that is fitted after training."""

    name = "laplace_lora"
    reference = "Yang et al. 2023, arXiv:2308.13111; MaximeRobeyns/bayesian_lora, commit 4e99db8"
    Config = LaplaceConfig
    fits_on: ClassVar[tuple[Literal["train", "validation"], ...]] = ("train",)

    precisions: Tensor | None = None  # (runs,) of the fit
    _curvatures: list[Kronecker]  # of A and B of every layer

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: LaplaceConfig) -> str | None:
        """Refuse tasks other than classification of texts, and layers that read positions."""
        if task.head != SEQUENCE_CLASSIFICATION or task.loss != "cross_entropy":
            return f"it averages the classes of a text, which a {task.kind} task has not"
        layers = backbone.target_layers(config.targets)
        places = [name for name in layers if name.rpartition(".")[2] in _PLACES]
        shared = ["query and key"] if getattr(backbone.config, "share_att_key", False) else places
        if shared:
            return (
                f"{shared[0]} of a {backbone.config.model_type} backbone project positions, which "
                "all examples share, so no example has gradients of its own there"
            )
        return super().supports(task, backbone, config)

    def layer(self, base: nn.Module, site: str) -> StackedLora:
        """Return the layer that replaces ``base``."""
        return LaplaceLayer(self.axis, base, site, **self.layer_settings())

    def fit(self, state: TrainState, batches: Batches) -> None:
        """Add up the curvature of the training loss, and choose the precision of the prior."""
        weights = [w for layer in self._layers for w in (layer.lora_A, layer.lora_B)]
        self._curvatures = [Kronecker(weight.detach()) for weight in weights]
        for batch in batches("train"):
            with self._kept() as calls:
                logits = state.model(**batch.inputs).logits
                likely = logits.detach().softmax(dim=-1)
                # Vectors v with sum of v v' = diag(p) - p p', the curvature of the loss by logits.
                root = likely.sqrt()
                roots = torch.diag_embed(root) - root.unsqueeze(2) * likely.unsqueeze(1)
                taken = self._taken(calls, logits, roots.unbind(dim=1))
            for curvature, (inputs, slopes) in zip(self._curvatures, taken, strict=True):
                curvature.add(inputs, slopes, _present(batch, inputs))
        for curvature in self._curvatures:
            curvature.decompose()
        self.precisions = self._likeliest(weights)

    def predict(self, state: TrainState, batch: Batch) -> Tensor:
        """Return the log of the mean probabilities of drawn logits; until the fit, LoRA's."""
        if self.precisions is None:
            return super().predict(state, batch)
        with torch.inference_mode(mode=False), torch.enable_grad():
            logits, covariance = self.normal_logits(state, batch)
        runs, classes = self.axis.size, logits.shape[-1]
        means = logits.view(runs, -1, 1, classes)
        noise = self.axis.normal("logits", (self.configs[0].draws, classes), 0)
        size = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
        share = max(_JITTER, _ROUNDING * classes * torch.finfo(logits.dtype).eps)
        jitter = (share * size + torch.finfo(size.dtype).tiny) * torch.eye(classes).to(size)
        roots = torch.linalg.cholesky(covariance + jitter).to(noise)
        drawn = means + noise.unsqueeze(1) @ roots.mT
        return mean_prediction(drawn.transpose(1, 2), state.task.loss)

    def normal_logits(self, state: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return means, (runs * batch, classes), and covariances of logits, (runs, batch, ...)."""
        assert self.precisions is not None  # noqa: S101 - after the fit
        # Tensors of inference mode cannot take part in a pass backward; copies can.
        inputs = {k: v.clone() if isinstance(v, Tensor) else v for k, v in batch.inputs.items()}
        with recomputation.paused(state.model), self._kept() as calls:
            logits = state.model(**inputs).logits
            units = torch.eye(logits.shape[1]).to(logits)
            taken = self._taken(calls, logits, [unit.expand_as(logits) for unit in units])
        parts = [
            curvature.covariance(inputs, slopes, self.precisions).double()
            for curvature, (inputs, slopes) in zip(self._curvatures, taken, strict=True)
        ]
        return logits.detach(), torch.stack(parts).sum(dim=0)

    def diagnostic_values(self, state: TrainState, position: int) -> dict[str, Any]:
        """Return the precision of the prior."""
        found = super().diagnostic_values(state, position)
        if self.precisions is None:
            return found
        return found | {"prior_precision": float(self.precisions[position])}

    @property
    def _layers(self) -> list[LaplaceLayer]:
        return [layer for layer in self.adapters.values() if isinstance(layer, LaplaceLayer)]

    @contextmanager
    def _kept(self) -> Iterator[list[list[Call]]]:
        """Let A and B of every layer keep their calls, in the order of `_curvatures`."""
        for layer in self._layers:
            layer.calls = ([], [])
        try:
            yield [calls for layer in self._layers for calls in layer.calls or ()]
        finally:
            for layer in self._layers:
                layer.calls = None

    def _taken(
        self, calls: Sequence[Sequence[Call]], logits: Tensor, vectors: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the inputs of each A and B, and the gradients of its outputs for each vector.

        Inputs are (runs, batch, tokens, features), gradients (vectors, runs, batch, ...). A layer
        that is called several times in a pass has that many times the tokens.
        """
        shape = self.axis.size, len(logits) // self.axis.size, -1
        outputs = [output for own in calls for _, output in own]
        last = len(vectors) - 1
        slopes = [
            iter(torch.autograd.grad(logits, outputs, vector, retain_graph=place < last))
            for place, vector in enumerate(vectors)
        ]

        def joined(parts: Iterable[Tensor]) -> Tensor:
            return torch.cat([part.view(*shape, part.shape[-1]) for part in parts], dim=2)

        return [
            (
                joined(rows for rows, _ in own),
                torch.stack([joined(islice(each, len(own))) for each in slopes]),
            )
            for own in calls
        ]

    def _likeliest(self, weights: Sequence[Tensor]) -> Tensor:
        """Return each run's precision of the prior, (runs,)."""
        given = [config.prior_precision for config in self.active_configs]
        grid: Tensor = weights[0].new_tensor(_GRID, dtype=torch.float64).expand(self.axis.size, -1)
        squares = torch.stack([w.detach().double().square().sum(dim=(1, 2)) for w in weights])
        numbers = sum(weight[0].numel() for weight in weights)
        evidence = numbers * grid.log() - grid * squares.sum(dim=0).unsqueeze(1)
        for curvature in self._curvatures:
            evidence = evidence - curvature.log_determinant(grid)
        found = grid[0, evidence.argmax(dim=1)].tolist()
        chosen = [best if own is None else own for own, best in zip(given, found, strict=True)]
        return grid.new_tensor(chosen)


def _present(batch: Batch, inputs: Tensor) -> Tensor:
    """Return 1 for tokens that are there, 0 for padding, (runs, batch, tokens, 1)."""
    mask: Tensor = batch.inputs["attention_mask"].view(*inputs.shape[:2], -1).to(inputs.dtype)
    width, tokens = mask.shape[2], inputs.shape[2]
    if tokens % width:  # a layer after pooling has one token
        return torch.ones_like(inputs[..., :1])
    return mask.repeat(1, 1, tokens // width).unsqueeze(3)
