"""A small suite, and a results folder that version 0.1 left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gapbench.bench.core import plugins
from tests.support.small_suite import REPOSITORY, SmallSuite, make


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of 6 runs, none of them done."""
    return make(tmp_path / "small", make_backbone("bert"))


@pytest.fixture
def old_results(tmp_path: Path) -> Path:
    """A copy of a results folder that version 0.1 wrote."""
    source = REPOSITORY / "tests" / "integration" / "results_0_1" / "results"
    return Path(shutil.copytree(source, tmp_path / "old"))


@pytest.fixture(autouse=True)
def _own_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget registered methods after each test."""
    monkeypatch.setattr(plugins, "registered", {})
