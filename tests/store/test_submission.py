"""Packed folders: what is in them, that nothing is lost, and what is refused."""

import zipfile
from pathlib import Path

import pytest

from gapbench.bench.core.errors import StoreError
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from gapbench.bench.store.submission import NAME, check, opened, pack
from gapbench.reports.results.load import load
from gapbench.reports.tables.summary import summarise
from tests.support.known_truth import MISSING, write
from tests.support.results_folder import fill


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two methods, two tasks, two seeds."""
    return fill(tmp_path_factory.mktemp("results"), methods=("lora", "head"), seeds=2)


@pytest.mark.parametrize("name", ["packed", "packed.zip"])
def test_packed_folder_says_what_the_folder_says(store: Store, tmp_path: Path, name: str) -> None:
    """Records, plans and predictions are there, in less space; locks and logs are not."""
    packed = pack(store, tmp_path / name)
    assert packed.path.exists()
    assert (packed.manifest.runs, packed.manifest.missing) == ({"ok": 8}, 0)
    assert repr(packed) == f"{packed.path}: 8 ok; {packed.bytes:,} bytes"
    with opened(packed.path) as folder:
        assert check(folder) == packed.manifest
        assert {each.name for each in folder.iterdir()} == {"runs", "plans", NAME}
        again = Store(folder)
        for record in store.records():
            assert isinstance(record, Record)
            assert again.find(record.run) == record
            table = store.predictions(record.run)
            assert table is None or table.equals(again.predictions(record.run))
        sizes = [sum(each.stat().st_size for each in one.rglob("*.parquet"))
                 for one in (folder, store.root)]  # fmt: skip
        assert sizes[0] < sizes[1]
        tables = [summarise(load(one)).drop(columns="standing") for one in (store, again)]
        assert tables[0].astype(str).equals(tables[1].astype(str))


def test_archive_is_the_same_each_time(store: Store, tmp_path: Path) -> None:
    """So that a pull request shows what changed and nothing else."""
    one, other = (pack(store, tmp_path / name).path.read_bytes() for name in ("a.zip", "b.zip"))
    assert one == other


def test_missing_runs_are_refused_unless_allowed(tmp_path: Path) -> None:
    """With their number and the way out."""
    store = write(tmp_path / "in", {"lora": 1.0}, seeds=3, fates={("lora", 2): MISSING})
    with pytest.raises(StoreError, match=r"1 planned runs have no record; .*--allow-missing"):
        pack(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert pack(store, tmp_path / "out", allow_missing=True).manifest.missing == 1
    with pytest.raises(StoreError, match="exists already"):
        pack(store, tmp_path / "out", allow_missing=True)


def test_damaged_record_is_refused(tmp_path: Path) -> None:
    """Nothing is packed."""
    store = fill(tmp_path / "in", methods=("lora",), seeds=1)
    store.record_paths()[0].write_text("{")
    with pytest.raises(StoreError, match="nothing was packed"):
        pack(store, tmp_path / "out")


@pytest.mark.parametrize("change", ["changed", "gone", "added"])
def test_changed_files_are_found(store: Store, tmp_path: Path, change: str) -> None:
    """The file is named."""
    folder = pack(store, tmp_path / "packed").path
    path = Store(folder).record_paths()[0]
    if change == "changed":
        path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    elif change == "gone":
        path.unlink()
    else:
        path.with_name("seed-9.json").write_text("{}")
    with pytest.raises(StoreError, match="seed-"):
        check(folder)


def test_damaged_archive_is_refused(store: Store, tmp_path: Path) -> None:
    """A byte that a transfer turned is an error with a way out."""
    path = pack(store, tmp_path / "packed.zip").path
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be unpacked"), opened(path):
        pass


def test_archive_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    """No file is written outside, and what is no archive is named."""
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.json", "{}")
    with pytest.raises(StoreError, match="leads out of the folder"), opened(path):
        pass
    assert not (tmp_path.parent / "outside.json").exists()
    (tmp_path / "text.zip").write_text("no archive")
    refused = pytest.raises(StoreError, match="neither a folder nor an archive")
    with refused, opened(tmp_path / "text.zip"):
        pass
