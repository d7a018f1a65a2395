"""The suites of the papers: complete, pinned where a revision is known, and as the papers say."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from tests.support.small_suite import stand_ins

FOLDER = Path(str(files("gapbench.suites"))) / "papers"
NAMES = [name for name in suites.builtin_names() if name.startswith("papers/")]


def cells_of(
    name: str, *tasks: str, sources: Sources | None = None
) -> dict[tuple[str, str, str], Cell]:
    """Return the cells of a suite by task, method and variant, on a built-in backbone."""
    suite, path = suites.load(name)
    part = suites.restrict(suite, task_names=tasks, seeds=1, backbone="tiny-encoder")
    planned = suites.expand(part, sources or Sources(), path)
    return {(p.run.cell.task.name, p.run.cell.method, p.variant): p.run.cell for p in planned}


def test_papers_have_a_suite_for_each_file() -> None:
    """Every file is listed under its path, and each of the four papers has its main one."""
    assert sorted(NAMES) == sorted(f"papers/{path.stem}" for path in FOLDER.glob("*.yaml"))
    assert {f"papers/{p}" for p in ("hiddenkey", "lora_dropout", "bilora", "flexora")} <= set(NAMES)
    for name in NAMES:
        suite, _ = suites.load(name)
        assert f"papers/{suite.name}" == name
        assert suite.protocol == "paper"


@pytest.mark.parametrize("name", NAMES)
def test_paper_suite_expands_to_its_whole_grid(name: str, tmp_path: Path) -> None:
    """Every task, setting and change of every method resolves without a network."""
    suite, _ = suites.load(name)
    cells = cells_of(name, sources=stand_ins(tmp_path, name))
    assert len(cells) == len(suite.tasks) * len(suite.methods)


@pytest.mark.parametrize("name", NAMES)
def test_paper_backbones_are_pinned_or_the_suite_asks_for_one(name: str) -> None:
    """A hub id has a full commit hash, or is refused with the way out that the suite names."""
    suite, path = suites.load(name)
    for backbone in suite.backbones:
        if re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", backbone):
            continue
        assert "give --backbone" in suite.description
        with pytest.raises(BackboneError, match=r"a pinned revision.*by --backbone"):
            suites.expand(suite, Sources(), path)


def test_hiddenkey_settings_are_those_of_its_table_6() -> None:
    """Rate, epochs, batch and length differ by task; rank, alpha, decay and warm-up do not."""
    table = {
        "rte": (4e-4, 30, 64, 512),
        "mrpc": (3e-4, 30, 32, 512),
        "stsb": (3e-4, 10, 32, 128),
        "sst2": (4e-4, 10, 64, 512),
        "cola": (2e-4, 40, 32, 128),
        "qnli": (2e-4, 10, 32, 512),
    }
    cells = cells_of("papers/hiddenkey")
    assert {task for task, _, _ in cells} == set(table)
    for (task, _, _), cell in cells.items():
        budget, training = cell.budget, cell.training
        found = (
            training.learning_rate,
            budget.epochs,
            budget.batch_size,
            cell.task.max_length,
        )
        assert found == table[task]
        assert budget.evaluations == budget.epochs
        assert (training.weight_decay, training.warmup_fraction) == (0.1, 0.06)
        assert (cell.config["rank"], cell.config["alpha"]) == (8, 16)
    assert cells["mrpc", "lora", "default"].task.metrics[0] == "accuracy"


def test_hiddenkey_variants_drop_at_the_rates_where_figure_4_peaks() -> None:
    """The element pattern of DropKey has a peak of its own; HiddenKey takes the single rates."""
    cells = cells_of("papers/hiddenkey", "rte", "mrpc")

    def rates(task: str, method: str, variant: str = "default") -> tuple[float, float]:
        config = cells[task, method, variant].config
        return config["logit_rate"], config["ffn_rate"]

    assert rates("rte", "dropkey", "column") == rates("rte", "dropkey", "span") == (0.2, 0.0)
    assert rates("rte", "dropkey", "element") == (0.25, 0.0)
    assert rates("rte", "hiddencut", "span") == (0.0, 0.2)
    assert rates("mrpc", "hiddenkey") == rates("mrpc", "hiddenkey_minus", "js") == (0.15, 0.1)
    assert cells["rte", "hiddenkey_minus", "js"].config["consistency"] == "js"


def test_lora_dropout_settings_differ_by_task_and_method() -> None:
    """Alpha is 32 on RTE for all; the stronger penalty is AdaLoRA's alone."""
    cells = cells_of("papers/lora_dropout", "rte", "sst2")
    assert {cell.config["alpha"] for (task, _, _), cell in cells.items() if task == "rte"} == {32}
    assert {cell.config["alpha"] for (task, _, _), cell in cells.items() if task == "sst2"} == {16}
    adalora = {task: cells[task, "adalora", "default"].config for task in ("rte", "sst2")}
    assert adalora["rte"]["orthogonality"] == 0.3
    assert adalora["sst2"]["orthogonality"] == 0.1
    lora = cells["rte", "lora_dropout", "default"].config
    assert (lora["rate"], lora["instances"], lora["rank"]) == (0.5, 4, 8)


def test_lora_dropout_instruction_is_scored_on_mmlu_without_examples(tmp_path: Path) -> None:
    """What could be read of Table 3: backbone, data, two methods beside the untouched model."""
    name = "papers/lora_dropout_instruction"
    suite, _ = suites.load(name)
    assert suite.backbones[0].startswith("meta-llama/Llama-2-7b-hf@")
    cells = cells_of(name, sources=stand_ins(tmp_path, name))
    assert {method for _, method, _ in cells} == {"lora", "lora_dropout", "untuned"}
    for cell in cells.values():
        (test,) = cell.also_test
        assert (cell.task.name, test.task.name) == ("alpaca_cleaned", "mmlu")
        assert test.task.model_dump()["shots"]["number"] == 0
