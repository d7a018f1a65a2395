"""A full disk: a clear error, nothing half written, nothing lost, and the same command goes on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import StoreError
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.tasks import dataset
from tests.integration.chaos.disks import fill, resize, small_disk
from tests.support.small_suite import CELL, blank, call, make

NUMBERS = np.random.default_rng(0).normal(size=2000)  # which no compression makes smaller
TABLE = pa.table({"example_id": range(2000), "logit_0": NUMBERS})


@pytest.mark.parametrize("left", [0, 1, 4], ids="{} pages left".format)
def test_write_on_a_full_disk_leaves_nothing_and_harms_nothing(tmp_path: Path, left: int) -> None:
    """Wherever the disk is full, in predictions or the record, the way out is given."""
    with small_disk(tmp_path / "disk", 256) as disk:
        store = store_at(disk / "results")
        first, second = Run(CELL, 0), Run(CELL, 1)
        store.write(blank(first), {"test": TABLE})
        before = store.record_path(first).read_bytes()
        (disk / "spare").write_bytes(bytes(4096 * left))
        fill(disk / "ballast")
        (disk / "spare").unlink()
        with pytest.raises(StoreError, match=r"seed-1.* No space left on device; make room or"):
            store.write(blank(second), {"test": TABLE})
        assert not list(disk.rglob("*.part"))
        assert not store.settled(second)
        assert store.record_path(first).read_bytes() == before
        assert store.predictions(first) == TABLE
        (disk / "ballast").unlink()
        store.write(blank(second), {"test": TABLE})
        assert store.settled(second)


def test_plan_and_claim_on_a_full_disk_are_refused_with_the_way_out(tmp_path: Path) -> None:
    """What a command writes before its first run fails in the same words."""
    with small_disk(tmp_path / "disk", 64) as disk:
        store = store_at(disk / "results")
        runs = [(Run(CELL, seed), "default") for seed in range(100)]
        store.write_plan("small", runs[:2])
        fill(disk / "ballast")
        with pytest.raises(StoreError, match=r"small\.json: cannot be written: No space left"):
            store.write_plan("small", runs)
        assert len(store.plans()) == 2
        assert not list(disk.rglob("*.part"))


def test_command_that_fills_the_disk_goes_on_when_there_is_room(
    tmp_path: Path, make_backbone: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` ends with one line; what was finished stays, and the same command does the rest."""
    small = make(tmp_path / "small", make_backbone("bert"), methods=["majority"], seeds=20)
    with small_disk(tmp_path / "disk", 160) as disk:
        running = [*small.planning, "--results", disk / "results", "--stack", "1"]
        answer = call(capsys, "run", *running)
        assert answer.code == 2
        assert "No space left on device; make room or give another folder" in answer.err
        assert "Traceback" not in answer.err
        store = Store(disk / "results")
        done = {r.run_hash: r for r in store.records() if isinstance(r, Record)}
        finished = {hash_ for hash_, record in done.items() if record.status == "ok"}
        assert 0 < len(finished) < 20
        assert not list(disk.rglob("*.part"))
        shown = call(capsys, "status", store.root)
        assert shown.code == 0
        resize(disk, 4096)
        assert call(capsys, "run", *running, "--json").json["now"] == {"ok": 20 - len(finished)}
        after = {r.run_hash: r for r in store.records() if isinstance(r, Record)}
        assert len(after) == 20
        assert all(after[hash_] == done[hash_] for hash_ in finished)


def test_full_cache_costs_time_and_no_run(
    tmp_path: Path,
    make_backbone: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where derived files find no room, runs are made without them."""
    small = make(tmp_path / "small", make_backbone("bert"), methods=["majority"])
    dataset._open.clear()  # of the tests before
    with small_disk(tmp_path / "cache", 64) as cache:
        monkeypatch.setenv("GAPBENCH_CACHE", str(cache))
        fill(cache / "ballast")
        answer = call(capsys, "run", *small.running, "--json")
        assert (answer.code, answer.json["now"]) == (0, {"ok": 2})
        files = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]
        assert [path.name for path in files] == ["ballast"]
