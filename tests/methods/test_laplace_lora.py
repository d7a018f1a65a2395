"""Laplace-LoRA against Jacobians by automatic differentiation and dense matrices."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.build import set_up, unsupported_reason
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import Batch, collate
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.training.fitting import fit
from gapbench.bench.training.trainer import Trainer
from gapbench.methods.laplace_lora import _GRID, LaplaceLora
from tests.support import tiny_families
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

CLASSES = 3
Ready = tuple[LaplaceLora, TrainState, Trainer]


@pytest.fixture
def ready(make_backbone: MakeBackbone) -> Ready:
    """Return two runs with a random B, one with a precision of its own, fitted."""
    configs = [{"rank": 2}, {"rank": 2, "prior_precision": 7.0}]
    runs = make_runs("laplace_lora", (3, 5), configs=configs, outputs=CLASSES)
    data = random_data(outputs=CLASSES, train=12)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    assert isinstance(method, LaplaceLora)
    for place, layer in enumerate(method._layers):
        nn.init.normal_(layer.lora_B, std=0.3, generator=torch.Generator().manual_seed(place))
    state.model.eval()
    trainer = Trainer(runs, method, state, data, lambda _: None)
    fit(trainer)
    return method, state, trainer


def test_recomputed_layers_give_the_same_prediction(make_backbone: MakeBackbone) -> None:
    """A layer that runs again in the pass backward is not read twice."""
    (plain,) = make_runs("laplace_lora", (3,), outputs=CLASSES)
    data, found = random_data(outputs=CLASSES, train=12), []
    for cell in (plain.cell, plain.cell.changed({"gradient_checkpointing": True})):
        runs = [Run(cell, 3)]
        method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
        fit(Trainer(runs, method, state, data, lambda _: None))
        batch = collate(data.test, np.arange(4)[None], CPU)
        with torch.inference_mode():
            found.append(method.predict(state, batch))
    torch.testing.assert_close(*found)


def _jacobian(ready: Ready, batch: Batch, run: int) -> list[Tensor]:
    """Return the logits' gradients by each A and B of a run, (examples, classes, numbers)."""
    method, state, _ = ready
    weights = [w for layer in method._layers for w in (layer.lora_A, layer.lora_B)]
    logits = state.model(**batch.inputs).logits.view(2, -1, CLASSES)[run]
    rows = [torch.autograd.grad(each, weights, retain_graph=True) for each in logits.flatten()]
    return [
        torch.stack([row[k][run].flatten() for row in rows]).unflatten(0, (-1, CLASSES))
        for k in range(len(weights))
    ]


def _curvature(ready: Ready) -> list[Tensor]:
    """Return the dense curvature of each A and B of the first run, by hooks and single examples."""
    method, state, trainer = ready
    data, layers = trainer.data.train, method._layers
    inputs: list[list[Tensor]] = [[] for _ in range(2 * len(layers))]
    slopes: list[list[Tensor]] = [[] for _ in range(2 * len(layers))]
    for example in range(len(data)):
        batch = collate(data, np.array([[example], [example]]), CPU)
        with method._kept() as calls:
            logits = state.model(**batch.inputs).logits
            likely = logits[0].detach().softmax(-1)
            exact = torch.diag(likely) - torch.outer(likely, likely)
            values, vectors = torch.linalg.eigh(exact)
            outputs = [own[0][1] for own in calls]
            for value, vector in zip(values.clamp(min=0), vectors.T, strict=True):
                found = torch.autograd.grad(
                    logits[0] @ (vector * value.sqrt()), outputs, retain_graph=True
                )
                for kept, gradient in zip(slopes, found, strict=True):
                    kept.append(gradient[0])
            for kept, own in zip(inputs, calls, strict=True):
                kept.append(own[0][0][0])
    dense = []
    for rows, gradients in zip(inputs, slopes, strict=True):
        x, s = torch.cat(rows), torch.cat(gradients)
        dense.append(torch.kron(s.T @ s, x.T @ x / len(x)))
    return dense


def test_covariance_of_logits_is_that_of_the_linear_model(ready: Ready) -> None:
    """J (curvature + precision)^-1 J' with dense matrices, for each example of a padded batch."""
    method, state, trainer = ready
    batch = collate(trainer.data.test, np.stack([np.arange(4)] * 2), CPU)
    means, covariance = method.normal_logits(state, batch)
    torch.testing.assert_close(means, state.model(**batch.inputs).logits.detach())
    assert method.precisions is not None
    expected = torch.zeros(4, CLASSES, CLASSES, dtype=torch.float64)
    for jacobian, dense in zip(_jacobian(ready, batch, 0), _curvature(ready), strict=True):
        precision = dense + method.precisions[0] * torch.eye(len(dense), dtype=torch.float64)
        expected += jacobian @ torch.linalg.inv(precision) @ jacobian.mT
    torch.testing.assert_close(covariance[0], expected, rtol=1e-8, atol=1e-12)


def test_prior_has_the_largest_marginal_likelihood(ready: Ready) -> None:
    """On the grid, by dense determinants; a precision that was asked for is kept."""
    method, state, _ = ready
    assert method.precisions is not None
    weights = [w[0] for layer in method._layers for w in (layer.lora_A, layer.lora_B)]
    square = sum(float(w.detach().square().sum()) for w in weights)
    dense = _curvature(ready)
    evidence = []
    for precision in _GRID:
        found = -precision * square
        for each in dense:
            own = torch.eye(len(each), dtype=torch.float64)
            found += len(each) * np.log(precision) - float(torch.logdet(each + precision * own))
        evidence.append(found)
    assert float(method.precisions[0]) == _GRID[int(np.argmax(evidence))]
    assert float(method.precisions[1]) == 7.0
    assert method.diagnostic_values(state, 1) == {"prior_precision": 7.0}


def test_probabilities_are_the_mean_over_normal_logits(ready: Ready) -> None:
    """They equal the average over the same draws, are batch-free, and make no single model."""
    method, state, trainer = ready
    data = trainer.data.test
    batch = collate(data, np.stack([np.arange(5)] * 2), CPU)
    with torch.inference_mode():
        made = method.predict(state, batch).view(2, 5, CLASSES)
        single = method.predict(state, collate(data, np.array([[2], [2]]), CPU))
    torch.testing.assert_close(made[:, 2], single, rtol=0, atol=1e-9)
    means, covariance = method.normal_logits(state, batch)
    noise = method.axis.normal("logits", (1000, CLASSES), 0)
    for run in range(2):
        for row, mean in enumerate(means.view(2, 5, CLASSES)[run]):
            drawn = mean + noise[run] @ torch.linalg.cholesky(covariance[run, row]).T
            expected = drawn.softmax(-1).mean(0)
            torch.testing.assert_close(made[run, row].exp(), expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(MergeError, match="own prediction rule"):
        method.merge(state, 0)


def test_many_classes_in_float32_are_predicted(make_backbone: MakeBackbone) -> None:
    """More classes than the head has features: their logits have no independent noise."""
    runs = make_runs("laplace_lora", (3,), outputs=40, precision="fp32")
    data = random_data(outputs=40, train=12)
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    fit(Trainer(runs, method, state, data, lambda _: None))
    with torch.inference_mode():
        found = method.predict(state, collate(data.test, np.arange(4)[None], CPU))
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(4))


def test_fit_finds_out_first_what_predictions_read(make_backbone: MakeBackbone) -> None:
    """A stack that resumes after its last step has scored nothing; its scores are the same."""
    runs = make_runs("laplace_lora", (3,), outputs=CLASSES)
    data, found = random_data(outputs=CLASSES, train=12), []
    for known in (None, True):
        method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
        state.reads_first_only = known
        fit(Trainer(runs, method, state, data, lambda _: None))
        assert state.reads_first_only is True
        outputs = kinds.get("classification").outputs(method, state, EvalSubset.of(data.test))
        found.append(outputs["logits"])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("shared", [True, False])
def test_layers_that_project_positions_are_refused(shared: bool, tmp_path: Path) -> None:
    """By DeBERTa's own projections, or by its queries and keys."""
    backbone = tiny_families.load(
        "deberta-v2",
        tmp_path,
        SEQUENCE_CLASSIFICATION,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        share_att_key=shared,
    )
    for targets in ("default", "all-linear"):
        (run,) = make_runs("laplace_lora", configs=[{"targets": targets}])
        reason = unsupported_reason(run.cell, backbone)
        if shared or targets == "all-linear":
            assert reason is not None
            assert "of a deberta-v2 backbone project positions, which all examples" in reason
        else:
            assert reason is None
