"""Examples that methods drew: said where they differ, by method, and nowhere else."""

from pathlib import Path

from gapbench.bench.config.run import Run
from gapbench.bench.store.store import Store
from gapbench.reports.document.model import Bullets
from gapbench.reports.render.report import gather
from gapbench.reports.sections import tasks
from tests.support.results_folder import make_cell, make_record, put

Parts = dict[str, int]


def said(root: Path, costs: dict[str, dict[str, Parts]]) -> str:
    """Return the prose under the comparison of methods whose records hold these costs."""
    store = Store(root)
    store.open_for_writing()
    cells = {name: make_cell(name) for name in costs}
    store.write_plan("s", [(Run(c, seed), "default") for c in cells.values() for seed in (0, 1)])
    for name, cell in cells.items():
        for seed in (0, 1):
            record = make_record(cell, seed)
            assert record.cost is not None
            cost = record.cost.model_copy(update=costs[name])
            put(store, record.model_copy(update={"cost": cost}))
    section = tasks.section(gather(store.root))
    lists = (part.items for part in section.flat if isinstance(part, Bullets))
    return " ".join(text for texts in lists for text in texts)


def test_unequal_draws_are_said_with_the_methods_of_each(tmp_path: Path) -> None:
    """Methods that drew alike stand together behind the counts of their parts."""
    whole, parts = {"train": 240}, {"lower": 228, "upper": 60}
    prose = said(
        tmp_path,
        {"lora": {"drawn": whole}, "dora": {"drawn": whole}, "bilora": {"drawn": parts}},
    )
    assert "Training examples drawn" in prose
    assert "train 240 (lora and dora)" in prose
    assert "lower 228, upper 60 (bilora)" in prose


def test_equal_or_unknown_draws_are_not_said(tmp_path: Path) -> None:
    """One count for all, or records of before it was counted, need no sentence."""
    equal = {name: {"drawn": {"train": 240}} for name in ("lora", "dora")}
    assert "drawn" not in said(tmp_path / "equal", equal)
    assert "drawn" not in said(
        tmp_path / "unknown", {"lora": {"drawn": {"train": 240}}, "dora": {}}
    )


def test_a_fit_after_training_is_said_with_its_examples(tmp_path: Path) -> None:
    """Who fitted nothing is not named."""
    fit = {"fit_examples": {"validation": 100}}
    prose = said(tmp_path, {"lora": {}, "temperature_scaled_lora": fit})
    assert "by split: validation 100 (temperature_scaled_lora)." in prose
