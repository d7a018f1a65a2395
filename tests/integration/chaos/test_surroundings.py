"""Damaged caches, wrong clocks and shared folders that show files late change no result."""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.data.digests import cache_folder, file_digest
from gapbench.bench.store import provenance
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.tasks import dataset
from tests.support.small_suite import CELL, SmallSuite, blank, call, make

Capture = pytest.CaptureFixture[str]
LONG_AGO, FAR_AHEAD = 86400.0, 4102444800.0  # 1970-01-02 and 2100-01-01


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of four runs that train nothing, and nothing of it cached."""
    return make(tmp_path / "small", make_backbone("bert"), methods=["majority", "untuned"])


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path / "cache"))
    dataset._open.clear()


def spoil(path: Path, content: bytes) -> None:
    """Put something else into a file, and let no process have the old one open, as this one."""
    dataset._open.clear()
    path.write_bytes(content)


def results(root: Path) -> dict[str, Any]:
    """Return everything that must not depend on the surroundings, by run."""
    records = Store(root).records()
    return {
        record.run_hash: record.model_dump(exclude={"cost", "provenance"})
        for record in records
        if not isinstance(record, Exception)
    }


def test_cache_cut_off_anywhere_is_made_again(small: SmallSuite, capsys: Capture) -> None:
    """Whatever is left of the cached files, splits are the same, and the files are mended."""
    before = call(capsys, "check", *small.planning, "--json").json
    files = [path for path in cache_folder().rglob("*") if path.is_file()]
    paths = [path for path in files if path.stem != "measured"]  # times differ each time
    assert {path.suffix for path in paths} == {".safetensors", ".json"}
    whole = {path: path.read_bytes() for path in paths}
    draw = random.Random(6)  # noqa: S311 - not for secrets
    for share in (0.0, *(draw.random() for _ in range(8))):
        for path in paths:
            spoil(path, whole[path][: int(len(whole[path]) * share)])
        assert call(capsys, "check", *small.planning, "--json").json == before
        assert {path: path.read_bytes() for path in paths} == whole


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\xff" * 4096], ids=len)
def test_runs_on_a_spoilt_cache_are_the_same(
    small: SmallSuite, capsys: Capture, content: bytes
) -> None:
    """A cache full of something else gives no other numbers."""
    assert call(capsys, "run", *small.running).code == 0
    for path in cache_folder().rglob("*"):
        if path.is_file():
            spoil(path, content)
    other = small.folder / "other"
    assert call(capsys, "run", *small.planning, "--results", other).code == 0
    assert results(other) == results(small.results)


def test_changed_file_with_the_same_times_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    """A file's hash is not remembered by times that anybody can set."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"old")
    stat = path.stat()
    first = file_digest(path)
    path.write_bytes(b"new")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert file_digest(path) != first


@pytest.mark.parametrize("when", [LONG_AGO, FAR_AHEAD])
def test_times_of_files_mean_nothing(tmp_path: Path, when: float) -> None:
    """Neither records nor claims grow old: what is held is held, what is done is done."""
    store = store_at(tmp_path / "results")
    done, held, free = (Run(CELL, seed) for seed in range(3))
    store.write(blank(done))
    store.write_plan("small", [(run, "default") for run in (done, held, free)])
    with store.claim([held]):
        for path in store.root.rglob("*"):
            os.utime(path, (when, when))
        with Store(store.root).claim([done, held, free]) as mine:
            assert mine == [free]
    assert store.settled(done)
    assert len(store.plans()) == 3
    with store.claim([held]) as mine:
        assert mine == [held]


@pytest.mark.parametrize("year", [1971, 2106])
def test_results_do_not_depend_on_the_clock(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    """A clock that is years off, and runs backwards, changes what time a record says, no more."""
    assert call(capsys, "run", *small.running).code == 0
    other = small.folder / "other"
    clock = iter(range(10**6, 0, -1))
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "now", lambda: datetime(year, 1, 1, tzinfo=UTC))
        patch.setattr(time, "time", lambda: float(next(clock)))
        assert call(capsys, "run", *small.planning, "--results", other).code == 0
    assert results(other) == results(small.results)
    assert call(capsys, "run", *small.planning, "--results", other, "--json").json["now"] == {}


def test_record_that_shows_late_is_kept(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a run was done twice, since a shared folder showed it late, the first record stays.

    A file that this process makes in the folder brings its view of it up to date, as on NFS.
    """
    assert call(capsys, "run", *small.running).code == 0
    before = small.records()
    status = Store.status

    def late(store: Store, run: Run) -> Status | None:
        path = store.record_path(run)
        return status(store, run) if path.with_name(path.name + ".part").exists() else None

    with monkeypatch.context() as patch:
        patch.setattr(Store, "status", late)
        patch.setattr(Store, "unsettled", lambda _store, runs: list(runs))
        answer = call(capsys, "run", *small.running, "--json")
    assert answer.json["now"] == {"ok": 4}
    assert small.records() == before
    assert not list(small.results.rglob("*.part"))
    assert call(capsys, "run", *small.running, "--json").code == 0
