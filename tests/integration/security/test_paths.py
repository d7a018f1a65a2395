"""Nothing is written outside the folder that was named, whatever names and links say."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import StoreError
from gapbench.bench.core.files import new_file, path_part
from gapbench.bench.data.manifest import load
from gapbench.bench.store.record_io import checkpoint_path
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.training.checkpoint import Checkpoints
from gapbench.bench.training.run_state import Trace
from gapbench.bench.training.snapshot import Snapshot
from gapbench.bench.tuning.storage import connect
from tests.support.small_suite import CELL, SmallSuite, blank, call

Capture = pytest.CaptureFixture[str]

RUN = Run(CELL, 0)
PREDICTIONS = pa.table({"example_id": [0], "label": [1]})
SNAPSHOT = Snapshot(
    step=3,
    active=(0,),
    active_rows={"numbers": torch.ones(1, 2)},
    rows={},
    traces=[Trace()],
    seconds={"train": np.ones(1)},
    counted=[],
)
DEVICES = ["con", "PRN", "aux.json", "Nul", "com1", "LPT9.txt"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results folder."""
    return store_at(tmp_path / "results")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside of the results folder that must stay as it is."""
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def planted(path: Path, target: Path) -> Path:
    """Put a link in the place of a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


@given(st.text(max_size=300) | st.sampled_from(DEVICES))
def test_part_of_a_path_is_one_on_every_system(name: str) -> None:
    """No name climbs, is a device of Windows, ends in a dot, or is longer than names may be."""
    part = path_part(name)
    assert 0 < len(part.encode()) < 230
    assert part.isascii()
    assert not set(part) & set('/\\:*?"<>| \n\0')
    assert not part.startswith(".")
    assert not part.endswith(".")
    assert part.partition(".")[0].lower() not in {d.partition(".")[0].lower() for d in DEVICES}
    assert path_part(part) == part


@pytest.mark.parametrize("name", ["tiny-encoder", "roberta_large", "lora", "a.b", "0" * 16])
def test_plain_name_is_its_own_part(name: str) -> None:
    """Names that are safe already stay readable."""
    assert path_part(name) == name


def test_suites_whose_names_share_a_file_are_kept_apart(store: Store) -> None:
    """Where the disk takes two names for one, the second suite is refused, and the first stays."""
    store.write_plan("Mine", [(RUN, "default")])
    plans = store.root / "plans"
    (plans / "Mine.json").rename(plans / "mine.json")  # as a disk shows it that ignores case
    before = (plans / "mine.json").read_bytes()
    with pytest.raises(StoreError, match=r"is the plan of suite 'Mine', .* 'mine' too; rename one"):
        store.write_plan("mine", [(Run(CELL, 1), "default")])
    assert (plans / "mine.json").read_bytes() == before


@pytest.mark.parametrize(
    "ending",
    [*(f".{kind}{part}" for kind in ("json", "parquet", "safetensors") for part in ("", ".part"))],
)
def test_link_at_a_file_of_a_run_is_replaced(store: Store, victim: Path, ending: str) -> None:
    """A record and its predictions are written in place of a link, not through it."""
    record = store.record_path(RUN)
    planted(record.with_name(record.stem + ending), victim)
    store.write(blank(RUN), {"test": PREDICTIONS}, b"its end")
    assert victim.read_text() == "precious"
    assert store.find(RUN) == blank(RUN)
    assert store.predictions(RUN) == PREDICTIONS
    assert checkpoint_path(record).read_bytes() == b"its end"
    assert not any(path.is_symlink() for path in store.root.rglob("*"))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_link_at_a_folder_of_a_run_is_refused(store: Store, tmp_path: Path, depth: int) -> None:
    """A folder that leads elsewhere is named, and nothing appears where it leads."""
    outside = tmp_path / "outside"
    outside.mkdir()
    parts = store.record_path(RUN).relative_to(store.root).parts
    place = store.root.joinpath(*parts[: depth + 1])
    planted(place, outside)
    with pytest.raises(StoreError, match="a link leads out of the folder; remove it"):
        store.write(blank(RUN), {"test": PREDICTIONS})
    assert list(outside.iterdir()) == []


def test_link_within_the_results_folder_is_followed(store: Store) -> None:
    """A link that leads nowhere else does no harm."""
    (store.root / "runs" / "real").mkdir()
    planted(store.root / "runs" / CELL.task.name, store.root / "runs" / "real")
    store.write(blank(RUN))
    assert store.settled(RUN)


def test_results_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    """Whoever names a link as the results folder means where it leads."""
    (tmp_path / "disk").mkdir()
    store = Store(planted(tmp_path / "results", tmp_path / "disk"))
    store.open_for_writing()
    store.write(blank(RUN))
    assert store.settled(RUN)
    assert (tmp_path / "disk" / "runs").is_dir()


@pytest.mark.parametrize("name", ["plans/small.json", "plans/small.json.part"])
def test_link_at_a_plan_is_replaced(store: Store, victim: Path, name: str) -> None:
    """A plan is written in place of a link, too."""
    victim.write_text('{"suite": "small", "runs": []}')
    planted(store.root / name, victim)
    store.write_plan("small", [(RUN, "default")])
    assert victim.read_text() == '{"suite": "small", "runs": []}'
    assert len(store.plans()) == 1


@pytest.mark.parametrize("folder", ["runs", "plans", "claims", "checkpoints", "logs"])
def test_link_at_a_part_of_the_results_is_refused(tmp_path: Path, folder: str) -> None:
    """So are the folders that a results folder begins with, before anything is written."""
    (tmp_path / "outside").mkdir()
    planted(tmp_path / "results" / folder, tmp_path / "outside")
    with pytest.raises(StoreError, match="a link leads out of the folder; remove it"):
        Store(tmp_path / "results").open_for_writing()
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("ending", ["", ".part"])
def test_link_at_a_checkpoint_is_replaced(
    store: Store, victim: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """So is a stack in training, also where the library that writes it follows links."""
    monkeypatch.setattr("gapbench.bench.training.checkpoint.save_file", followed)
    checkpoints = Checkpoints(store, torch.device("cpu"))
    assert checkpoints.write([RUN], SNAPSHOT)
    (path,) = store.checkpoints.iterdir()
    path.unlink()
    planted(path.with_name(path.name + ending), victim)
    assert checkpoints.write([RUN], SNAPSHOT)
    assert victim.read_text() == "precious"
    ((runs, saved),) = checkpoints.divide([RUN])
    assert runs == [RUN]
    assert saved is not None
    assert saved.step == SNAPSHOT.step
    assert not any(path.is_symlink() for path in store.root.rglob("*"))


def followed(tensors: dict[str, torch.Tensor], path: Path, header: dict[str, str]) -> None:
    """Write tensors wherever a link leads."""
    path.write_bytes(save(tensors, header))


def test_checkpoints_that_lead_elsewhere_are_refused(store: Store, tmp_path: Path) -> None:
    """A folder that became a link after the start of a run is not written to."""
    (tmp_path / "outside").mkdir()
    store.checkpoints.rmdir()
    planted(store.checkpoints, tmp_path / "outside")
    with pytest.raises(StoreError, match="a link leads out of the folder; remove it"):
        Checkpoints(store, torch.device("cpu")).write([RUN], SNAPSHOT)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("command", ["run", "tune"])
def test_link_at_a_lock_is_refused(
    small: SmallSuite, capsys: Capture, victim: Path, command: str
) -> None:
    """A lock is not taken through a link: the command ends with the cause, and nothing is lost."""
    name = "claims/plan-small.lock" if command == "run" else "tuning/storage.lock"
    planted(small.results / name, victim)
    more = ["--trials", "8"] if command == "tune" else []
    answer = call(capsys, command, *small.running, *more)
    assert answer.code == 2
    assert "symbolic links" in answer.err
    assert "Traceback" not in answer.err
    assert victim.read_text() == "precious"


def test_link_at_a_study_is_refused(
    small: SmallSuite, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study's folder does not lead out of the results either."""
    (tmp_path / "outside").mkdir()
    monkeypatch.setattr("gapbench.bench.tuning.study_plan.StudyPlan.name", "study")
    planted(small.results / "tuning" / "study", tmp_path / "outside")
    answer = call(capsys, "tune", *small.running, "--methods", "head", "--trials", "8")
    assert answer.code == 2
    assert "a link leads out of the folder" in answer.err
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("ending", ["", "-journal", "-wal"])
def test_link_at_the_studies_is_refused(
    small: SmallSuite, capsys: Capture, tmp_path: Path, ending: str
) -> None:
    """SQLite would follow it and write there, whether or not there is anything yet."""
    outside = tmp_path / "outside"
    planted(small.results / f"studies.db{ending}", outside)
    answer = call(capsys, "tune", *small.running, "--methods", "head", "--trials", "8")
    assert answer.code == 2
    assert f"studies.db{ending}: a link leads out of the folder; remove it" in answer.err
    assert not outside.exists()


def test_storage_that_was_named_may_be_anywhere(tmp_path: Path) -> None:
    """A link at a file that the user names is the user's own."""
    results = store_at(tmp_path / "results").root
    (results / "tuning").mkdir()
    link = planted(tmp_path / "named.db", tmp_path / "elsewhere.db")
    connect(f"sqlite:///{link}", results)
    assert (tmp_path / "elsewhere.db").is_file()


def test_links_at_the_files_of_a_report_are_replaced(
    small: SmallSuite, capsys: Capture, victim: Path
) -> None:
    """Page, PDF, tables and figures are written in place of links."""
    assert call(capsys, "run", *small.running, "--methods", "majority,head").code == 0
    assert call(capsys, "report", small.results).code == 0
    files = [path for path in (small.results / "report").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".html", ".pdf", ".csv", ".svg", ".png", ".json"}
    for path in files:
        path.unlink()
        planted(path, victim)
    assert call(capsys, "report", small.results).code == 0
    assert victim.read_text() == "precious"
    assert not any(path.is_symlink() for path in files)


def test_link_at_a_file_of_a_copy_is_replaced(
    small: SmallSuite, capsys: Capture, victim: Path
) -> None:
    """A file that is fetched again is written in place of links, too."""
    mirror = small.folder / "mirror"
    arguments = ("fetch", *small.planning, "--out", mirror)
    assert call(capsys, *arguments).code == 0
    path = mirror / "data" / "animals" / "train.parquet"
    before = path.read_bytes()
    path.unlink()
    planted(path, victim)
    planted(path.with_name("train.parquet.part"), victim)
    assert call(capsys, *arguments).code == 0
    assert victim.read_text() == "precious"
    assert path.read_bytes() == before
    assert not path.is_symlink()


@pytest.mark.parametrize("place", ["backbones", "data", "backbones/{name}", "data/animals"])
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_link_at_a_folder_of_a_copy_is_refused(
    small: SmallSuite, capsys: Capture, tmp_path: Path, place: str, again: bool
) -> None:
    """Nothing is fetched to where a folder leads, be it new or known to the manifest."""
    mirror, outside = small.folder / "mirror", tmp_path / "outside"
    arguments = ("fetch", *small.planning, "--out", mirror)
    folder = mirror / place.format(name=Path(small.backbone).name)
    if again:
        assert call(capsys, *arguments).code == 0
        shutil.rmtree(folder)
    outside.mkdir()
    planted(folder, outside)
    answer = call(capsys, *arguments)
    assert answer.code == 2
    assert "a link leads out of the folder; remove it" in answer.err
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["data/../../victim", "/etc/passwd", "data/a/../../../victim"])
def test_manifest_that_leads_elsewhere_is_refused(
    small: SmallSuite, capsys: Capture, victim: Path, path: str
) -> None:
    """What a manifest lists is in its own folder, so that fetching again deletes nothing else."""
    mirror = small.folder / "mirror"
    arguments = ("fetch", *small.planning, "--out", mirror)
    assert call(capsys, *arguments).code == 0
    manifest = mirror / "manifest.json"
    content = json.loads(manifest.read_text())
    content["items"]["data/animals"]["files"][path] = {"sha256": "0", "bytes": 1}
    content["items"]["data/animals"]["source"] = {"files": "others"}
    manifest.write_text(json.dumps(content))
    with pytest.raises(StoreError, match="is not a readable manifest"):
        load(mirror)
    answer = call(capsys, *arguments)
    assert answer.code == 2
    assert "is not a readable manifest" in answer.err
    assert victim.read_text() == "precious"


def test_new_file_replaces_a_link_and_leaves_its_target(tmp_path: Path, victim: Path) -> None:
    """Even one that leads to nothing is not followed."""
    link = planted(tmp_path / "link", tmp_path / "nothing")
    with new_file(link) as file:
        file.write(b"new")
    assert not link.is_symlink()
    assert not (tmp_path / "nothing").exists()
    with new_file(victim) as file:
        file.write(b"new")
    assert victim.read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
def test_checkpoint_can_be_read_by_whom_its_folder_lets_in(
    tmp_path: Path, keep_umask: Callable[[int], int]
) -> None:
    """It is not left to its owner alone, whom another one of a group may have to stand in for."""
    keep_umask(0o027)
    store = store_at(tmp_path / "results")
    assert Checkpoints(store, torch.device("cpu")).write([RUN], SNAPSHOT)
    (path,) = store.checkpoints.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
def test_files_have_the_mode_that_the_user_wants(
    small: SmallSuite, capsys: Capture, keep_umask: Callable[[int], int]
) -> None:
    """With a private umask nothing in a results folder can be read or written by others."""
    keep_umask(0o077)
    assert call(capsys, "run", *small.running, "--methods", "head").code == 0
    assert call(capsys, "report", small.results).code == 0
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in small.results.rglob("*")}
    assert len(modes) > 10
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
