"""Fits after training, and the passes that fits and predictions are charged with."""

import math

import pytest

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.store import provenance
from gapbench.bench.store.record import Record
from gapbench.bench.training.fitting import fit
from gapbench.bench.training.make_records import records
from gapbench.bench.training.trainer import Trainer
from tests.support.small_stack import CPU, MakeBackbone, load_backbone, make_runs, random_data

STEPS, BATCH = 4, 8
CONFIGS = {"tfb": {"samples": 3, "rounds": 2}}


def _trained(make_backbone: MakeBackbone, name: str, train: bool = True) -> Trainer:
    config = CONFIGS.get(name, {})
    runs = make_runs(name, (0, 1), configs=[config], steps=STEPS, outputs=3, evaluations=2)
    data, folder = random_data(outputs=3), make_backbone("bert")
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU)
    trainer = Trainer(runs, method, state, data, lambda _: None)
    if train and method.trains:
        trainer.train()
    return trainer


def _records(trainer: Trainer) -> list[Record]:
    return [record for record, _ in records(trainer, None, MemoryPeak(CPU), provenance.now())]


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        *(("majority", 0), ("untuned", 1), ("lora", 1), ("r_drop", 1), ("lora_swa", 1)),
        *(("lora_ensemble", 4), ("lora_dropout", 4), ("blob", 10), ("ivon", 1)),
        *(("swag_lora", 15), ("tfb", 3), ("laplace_lora", 1 + 3)),
    ],
)
def test_passes_of_a_prediction_are_counted(
    name: str, passes: int, make_backbone: MakeBackbone
) -> None:
    """Members, copies, samples and passes backward count, whatever form they take."""
    for record in _records(_trained(make_backbone, name)):
        assert record.cost is not None
        assert record.cost.inference_passes == passes


def test_a_fit_is_charged_with_what_went_through_the_model(make_backbone: MakeBackbone) -> None:
    """Validation for TFB's answers, its loss at the mean and in two rounds; train for Laplace."""
    data = random_data(outputs=3)
    validation, train = len(data.validation), len(data.train)
    tried = 1 + 2  # times that the loss is computed: once before, and in each round
    expected = {
        "tfb": (validation * (1 + 1 + 2 * 3), 0, {"validation": validation * (1 + tried)}),
        "laplace_lora": (train, train * 3, {"train": train}),
    }
    plain = _records(_trained(make_backbone, "lora"))[0].cost
    assert plain is not None
    assert plain.fit_examples is None
    for name, (forward, backward, examples) in expected.items():
        for record in _records(_trained(make_backbone, name)):
            cost = record.cost
            assert cost is not None
            assert cost.forward_passes == STEPS + math.ceil(forward / BATCH)
            assert cost.backward_passes == STEPS + math.ceil(backward / BATCH)
            assert cost.fit_examples == examples
            assert cost.train_flops > plain.train_flops
            assert cost.drawn == plain.drawn


def test_a_fitted_method_is_scored_as_fitted_on_every_split(make_backbone: MakeBackbone) -> None:
    """Curves are LoRA's; the record's scores are those of the posterior."""
    fitted, plain = (_records(_trained(make_backbone, name))[0] for name in ("tfb", "lora"))
    assert fitted.curve == plain.curve
    assert fitted.checkpoint == plain.checkpoint or fitted.checkpoint.step == plain.checkpoint.step
    for split, scores in fitted.splits.items():
        assert scores.loss != plain.splits[split].loss


def test_a_fit_reads_the_splits_that_its_method_declares(make_backbone: MakeBackbone) -> None:
    """Another split is refused, the test split with all."""
    trainer = _trained(make_backbone, "tfb", train=False)
    wanted = iter(["train", "test"])

    def reads(_state: object, batches: object) -> None:
        next(batches(next(wanted)))  # type: ignore[operator]

    trainer.method.fit = reads  # type: ignore[method-assign]
    for name in ("train", "test"):
        with pytest.raises(ValueError, match=f"fits on .'validation',., not on '{name}'"):
            fit(trainer)
