"""What a heading says of runs that were made by several versions of the code."""

from pathlib import Path

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.store.store import Store
from gapbench.reports.results.load import load
from gapbench.reports.tables.settings import told_apart
from gapbench.reports.tables.summary import summarise
from tests.support.results_folder import make_cell, make_record, put


def differences(root: Path, codes: dict[str, tuple[str, str]]) -> set[str]:
    """Return what tells rows apart, when the two runs of each method have these code hashes."""
    store = Store(root)
    store.open_for_writing()
    cells = {name: make_cell(name) for name in codes}
    store.write_plan("s", [(Run(c, seed), "default") for c in cells.values() for seed in (0, 1)])
    for name, hashes in codes.items():
        for seed, code in enumerate(hashes):
            record = make_record(cells[name], seed)
            origin = record.provenance.model_copy(update={"code_hash": code})
            put(store, record.model_copy(update={"provenance": origin}))
    return set(summarise(load(store))["differs"])


OLD, NEW = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    "codes",
    [
        {"lora": (OLD, OLD), "dora": (NEW, NEW)},  # a method each
        {"lora": (OLD, NEW), "dora": (OLD, NEW)},  # seeds of every method
    ],
)
def test_versions_of_the_code_are_counted(
    tmp_path: Path, codes: dict[str, tuple[str, str]]
) -> None:
    """All rows that are compared say so; the hashes are left to runs.csv and the protocol."""
    assert differences(tmp_path, codes) == {"2 versions of the code"}


@pytest.mark.parametrize("other", [OLD, ""])
def test_one_version_is_not_worth_a_word(tmp_path: Path, other: str) -> None:
    """Nor is a record of before the code was hashed."""
    assert differences(tmp_path, {"lora": (OLD, OLD), "dora": (other, other)}) == {""}


def test_small_values_are_told_in_full() -> None:
    """Not as a power of ten."""
    own, other = {"training.learning_rate": 5e-05}, {"training.learning_rate": 0.001}
    assert told_apart(own, [other]) == {"training.learning_rate": "0.00005"}
