"""Runs whose numbers overflow: what becomes of them, and of the others in their stack."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.run import Run
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.store import provenance
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs
from gapbench.bench.tasks.kinds.classification import Classification
from gapbench.bench.training.make_records import records
from gapbench.bench.training.trainer import StepCallback, Trainer
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data
from tests.support.small_suite import SmallSuite, call, make

Capture = pytest.CaptureFixture[str]
NAMES = ["peft:LORA" if name == "peft" else name for name in registry.discover()]
TRAINED = [name for name in NAMES if registry.get(name).trains]


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A valid suite, none of it done."""
    return make(tmp_path / "small", make_backbone("bert"), seeds=1)


# The first alpha overflows in the gradient of the first step, the second only in the next forward
# pass, which is an evaluation.
@pytest.mark.parametrize("alpha", [1e30, 1e22])
def test_diverging_run_leaves_the_others_of_its_stack_alone(
    small: SmallSuite, capsys: Capture, alpha: float
) -> None:
    """A run whose loss is no number ends as diverged; its neighbours score as without it."""
    calm = {"method": "lora", "config": {"rank": 2}}
    wild = {
        "method": "lora",
        "variant": "wild",
        "config": {"alpha": alpha},
        "training": {"learning_rate": 1.0, "warmup_fraction": 0},
    }
    budget = {"steps": 4, "batch_size": 4, "evaluations": 4}
    small.write_suite(methods=[calm, wild], seeds=2, budget=budget)
    answer = call(capsys, "run", *small.running, "--json")
    assert answer.code == 3
    assert answer.json["now"] == {"ok": 2, "diverged": 2}
    assert answer.err.count("diverged: animals/random-bert/lora/") == 2
    assert "is not finite by step 1; try a lower learning_rate" in answer.err
    together = {r.run_hash: r for r in Store(small.results).records() if isinstance(r, Record)}
    small.write_suite(methods=[calm])
    alone = small.folder / "alone"
    assert call(capsys, "run", *small.planning, "--results", alone).code == 0
    for record in Store(alone).records():
        assert isinstance(record, Record)
        assert _scores(together[record.run_hash]) == pytest.approx(_scores(record), abs=1e-6)


def test_stack_that_diverges_altogether_is_recorded(small: SmallSuite, capsys: Capture) -> None:
    """When no run of a stack is left, each still has its record, and is not tried again."""
    wild = {"method": "lora", "config": {"alpha": 1e30}}
    small.write_suite(methods=[wild], training={"learning_rate": 1.0, "warmup_fraction": 0})
    answer = call(capsys, "run", *small.running, "--json")
    assert (answer.code, answer.json["now"]) == (3, {"diverged": 1})
    again = call(capsys, "run", *small.running, "--json")
    assert (again.code, again.json["now"]) == (3, {})


def test_overflow_in_the_final_scoring_ends_one_run_only(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that overflows on an example training never saw spoils no neighbour's result."""

    def overflow(
        kind: Classification,
        method: AnyMethod,
        state: TrainState,
        subset: EvalSubset,
        _tokenizer: Any,
    ) -> Outputs:
        made = kind.outputs(method, state, subset)
        made["logits"][0, -1] = np.inf
        return made

    monkeypatch.setattr(Classification, "finish", overflow)
    part = ("--methods", "lora", "--seeds", "3", "--stack", "3")
    answer = call(capsys, "run", *small.running, *part, "--json")
    assert (answer.code, answer.json["now"]) == (3, {"ok": 2, "diverged": 1})
    assert "an output of the chosen checkpoint is not finite" in answer.err


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_that_overflows_ends_as_diverged(
    name: str, make_backbone: Callable[[str], Path]
) -> None:
    """From the first step on, or at the last; alone, or beside a run that goes on."""
    folder, seeds = make_backbone("bert"), (0, 1) if registry.get(name).stackable else (0,)
    configs = [{"settings": {"target_modules": ["query"]}} if name.startswith("peft") else {}]
    runs = make_runs(name, seeds, configs=configs, precision="fp32", steps=4, outputs=1)
    data = random_data(outputs=1)
    data.train.targets[:] = 1e30  # its square overflows
    first = _records(folder, runs, data)
    for record in first:
        assert record.status == Status.DIVERGED
        assert "loss or gradient is not finite by step" in (record.detail or "")
        assert record.cost is not None
        assert record.cost.steps <= 2


@pytest.mark.parametrize(
    "name", ["full", "peft:LORA", "lora_ensemble", "lora", "bilora", "flexora"]
)
def test_numbers_that_overflow_later_end_as_diverged(
    name: str, make_backbone: Callable[[str], Path]
) -> None:
    """Finite losses whose parameters have become so large that outputs are not."""
    configs = [{"settings": {"target_modules": ["query"]}} if name.startswith("peft") else {}]
    runs = make_runs(name, (0,), configs=configs, precision="fp32", steps=6, evaluations=3)

    def spoil(trainer: Trainer) -> None:
        if trainer.state.axis.step == 3:
            trainer.state.bank.values.fill_(3e38)
        trainer.snapshot()

    (record,) = _records(make_backbone("bert"), runs, random_data(), spoil)
    assert record.status == Status.DIVERGED
    assert record.curve


def test_one_enormous_value_ends_full_fine_tuning_as_it_ends_lora(
    shared_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A training value of 1e30 in a data file."""
    case = tmp_path / "case"
    shutil.copytree(shared_folder / "cases" / "12-full-diverges-as-failed", case)
    placed = ("--backbone", case / "bert", "--workers", "1", "--results", tmp_path / "results")
    answer = call(capsys, "run", case / "big2.yaml", *placed, "--json")
    assert (answer.code, answer.json["now"]) == (3, {"diverged": 2})


def _records(
    folder: Path, runs: list[Run], data: TaskData, callback: StepCallback | None = None
) -> list[Record]:
    """Train and score a stack as the engine does."""
    method, state = set_up(runs, load_backbone(folder, runs), data, CPU, check=True)
    trainer = Trainer(runs, method, state, data, lambda _: None, step_callback=callback)
    trainer.train()
    return [r for r, _ in records(trainer, None, MemoryPeak(CPU), provenance.now())]


def _scores(record: Record) -> list[float]:
    """Return every number of a record that does not measure time."""
    curve = [value for point in record.curve for value in point.model_dump().values()]
    assert record.calibration is not None
    losses = [scores.loss for scores in record.splits.values()]
    return [*curve, *losses, *record.calibration.model_dump().values()]
