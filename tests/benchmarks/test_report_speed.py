"""How long a report takes by its number of runs; `report_scale` tells its parts apart."""

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from gapbench.bench.store.store import Store
from gapbench.reports.render.build import build
from gapbench.reports.results.load import load
from tests.benchmarks.report_records import PLACE, write


@pytest.mark.parametrize("places", [1, 4])
def test_loading(benchmark: BenchmarkFixture, tmp_path: Path, places: int) -> None:
    """Records to one table; a place is a task on a backbone, with some three hundred runs."""
    store = write(tmp_path, places * PLACE)
    results = benchmark.pedantic(lambda: load(Store(store.root)), rounds=3)
    assert len(results.runs) == places * PLACE


@pytest.mark.parametrize("places", [1, 4])
def test_whole_report(benchmark: BenchmarkFixture, tmp_path: Path, places: int) -> None:
    """A results folder to all files of its report."""
    store = write(tmp_path, places * PLACE)
    built = benchmark.pedantic(lambda: build(store.root, tmp_path / "report"), rounds=1)
    assert built.report.stat().st_size > 0
