"""TFB against the authors' parametrisation, and its search against the curve of the loss."""

import numpy as np
import pytest
import torch
from torch import nn

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import MergeError
from gapbench.bench.data.batching import collate
from gapbench.bench.training.fitting import fit
from gapbench.bench.training.trainer import Trainer
from gapbench.methods.tfb import Tfb
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

Ready = tuple[list[Run], Tfb, TrainState, Trainer]


@pytest.fixture
def ready(make_backbone: MakeBackbone) -> Ready:
    """Return two runs with a random B, as if trained."""
    configs = [{"rounds": 6, "samples": 3, "tolerance": t} for t in (5e-5, 1e-5)]
    runs = make_runs("tfb", (3, 5), configs=configs, outputs=3)
    folder, data = make_backbone("bert"), random_data(outputs=3)
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    assert isinstance(method, Tfb)
    for place, layer in enumerate(method._layers):
        nn.init.normal_(layer.lora_B, generator=torch.Generator().manual_seed(place))
    state.model.eval()
    return runs, method, state, Trainer(runs, method, state, data, lambda _: None)


def test_a_sample_is_the_authors(ready: Ready) -> None:
    """Their layer has A' = V'A + sigma / (d + 1e-6) * E and B' = U diag(d)."""
    _, method, _, _ = ready
    layer = method._layers[0]
    plain = layer.lora_B @ layer.lora_A
    layer.decompose()
    layer.sample, layer.deviations = 4, torch.tensor([0.1, 0.3], dtype=torch.float64)
    layer.eval()
    a, b = layer.matrices()
    unit = layer.axis.normal(f"posterior.{layer.site}", layer.lora_A.shape[1:], 4)
    for run, sigma in enumerate((0.1, 0.3)):
        left, sizes, right = torch.svd(layer.lora_B[run])
        signs = left[left.abs().argmax(dim=0), torch.arange(len(sizes))].sign()
        deviations = sigma / (sizes + 1e-6)
        theirs = right.T @ layer.lora_A[run] + signs[:, None] * deviations[:, None] * unit[run]
        expected = left @ torch.diag(sizes) @ theirs
        torch.testing.assert_close(b[run] @ a[run], expected, rtol=0, atol=1e-12)
        moved = (expected - plain[run]).detach()
        alike = left @ (signs[:, None] * unit[run]) * sigma
        torch.testing.assert_close(moved, alike.detach(), rtol=1e-4, atol=1e-7)


def test_search_finds_the_largest_deviation_within_the_tolerance(ready: Ready) -> None:
    """One resolution further the loss changes by more, and on the result by no more."""
    runs, method, state, trainer = ready
    data = trainer.data.validation
    indices = np.stack([np.arange(len(data))] * 2)
    batch = collate(data, indices, CPU)
    with torch.no_grad():
        answers = state.model(**batch.inputs).logits.argmax(-1).view(2, -1)

    def loss(deviations: torch.Tensor | None) -> torch.Tensor:
        method.deviations = deviations
        with torch.no_grad():
            likely = method.predict(state, batch).log_softmax(-1).view(2, -1, 3)
        return -likely.gather(2, answers.unsqueeze(2)).mean(dim=(1, 2))

    before = loss(None)
    fit(trainer)
    first = method.deviations
    fit(trainer)  # the search begins with the mean, whatever was there
    assert first is not None
    assert torch.equal(first, method.deviations)
    found = method.deviations
    assert found is not None
    assert ((found > 0) & (found < 0.2)).all()
    resolution = 0.2 / 2**6
    tolerances = torch.tensor([run.cell.config["tolerance"] for run in runs])
    changes = [(loss(value) - before).abs() / before for value in (found, found + resolution)]
    assert (changes[0] <= tolerances).all()
    assert (changes[1] > tolerances).all()
    assert found[0] > found[1]
    method.deviations = found
    assert method.diagnostic_values(state, 1) == {"deviation": float(found[1])}


def test_prediction_is_lora_until_the_fit_and_a_mean_of_samples_after(ready: Ready) -> None:
    """Samples do not depend on the neighbours in a batch, and cannot be written as one model."""
    _, method, state, trainer = ready
    data = trainer.data.test
    batch = collate(data, np.stack([np.arange(6)] * 2), CPU)
    with torch.no_grad():
        assert torch.equal(method.predict(state, batch), state.model(**batch.inputs).logits)
        fit(trainer)
        pooled = method.predict(state, batch).view(2, 6, 3)
        single = method.predict(state, collate(data, np.array([[2], [2]]), CPU))
    torch.testing.assert_close(pooled[:, 2], single, rtol=0, atol=1e-12)
    torch.testing.assert_close(pooled.exp().sum(-1), torch.ones_like(pooled[..., 0]))
    with pytest.raises(MergeError, match="mean prediction of 3 samples"):
        method.merge(state, 0)
