"""A search on a cluster: this process follows, and says so where it cannot go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gapbench.bench.core import signals
from gapbench.bench.core.errors import StoreError
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.store.store import STUDIES
from gapbench.bench.tuning import search
from tests.support.planted_study import carry_out, plan, session


def test_search_whose_processes_have_ended_says_how_to_go_on(tmp_path: Path) -> None:
    """A study that nobody works at any longer is not waited for."""
    opened = session(plan(8), tmp_path)
    with pytest.raises(StoreError, match="before 1 of 1 studies; the same command goes on"):
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


def test_cluster_is_asked_for_the_memory_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm would take a demand of 0 as one for all memory of a computer."""
    asked: list[float] = []

    @contextmanager
    def beside(_search: object, jobs: Any, _settings: object) -> Iterator[Any]:
        asked.extend(job.memory_bytes for job in jobs)
        yield lambda: False

    monkeypatch.setattr(
        search.engines, "find", lambda _: SimpleNamespace(beside=beside, HERE=False)
    )
    monkeypatch.setattr(Sources, "weight_bytes", lambda *_: 1e6)
    settings = Settings(tmp_path, Sources(), "cpu", engine="slurm")
    with pytest.raises(StoreError, match="the same command goes on"):
        search.search([plan(8)], f"journal:{tmp_path / 'log'}", settings, lambda _share: None)
    assert min(asked) > 0


def test_copy_that_waits_ends_when_its_scheduler_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signal is only noted, and other copies may hold all runs for hours."""
    opened, rounds = session(plan(8), tmp_path), iter(range(2))
    (tmp_path / STUDIES).mkdir(exist_ok=True)
    monkeypatch.setattr(search, "_open", lambda *_: [opened])
    monkeypatch.setattr(search, "_run", lambda *_: next(rounds) < 0)
    settings: Any = SimpleNamespace(results=tmp_path)

    def search_when_asked_to_end() -> None:
        with signals.noting(signal.SIGTERM):
            signal.raise_signal(signal.SIGTERM)
            search._search_beside([], "journal:unused", settings, 0.0)

    with pytest.raises(signals.Stopped):
        search_when_asked_to_end()
    assert list(rounds) == [1]
