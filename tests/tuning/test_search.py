"""A search on a cluster: this process follows, and says so where it cannot go on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gapbench.bench.core.errors import StoreError
from gapbench.bench.tuning import search
from tests.support.planted_study import carry_out, plan, session


def test_search_whose_processes_have_ended_says_how_to_go_on(tmp_path: Path) -> None:
    """A study that nobody works at any longer is not waited for."""
    opened = session(plan(8), tmp_path)
    with pytest.raises(StoreError, match="1 studies have not; the same command goes on"):
        search._follow([opened], lambda: False, lambda _share: None)
    carry_out(opened)
    search._follow([opened], lambda: False, lambda _share: None)
    assert len(opened.rows()) == 8


def test_computer_that_does_not_share_the_results_folder_refuses(tmp_path: Path) -> None:
    """It would otherwise search alone in a folder that nobody reads."""
    elsewhere: Any = SimpleNamespace(results=tmp_path / "absent")
    with pytest.raises(StoreError, match=r"absent is not on computer .*--results DIR"):
        search._search_beside([], "journal:unused", elsewhere, 0.0)
    assert not elsewhere.results.exists()
