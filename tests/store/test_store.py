"""The results folder: what is written there, when it can be seen, and who may write it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapbench.bench.config.run import Cell, Fingerprint, Run
from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.record_io import predictions_path, read_record
from gapbench.bench.store.store import Store, store_at
from tests.support.small_suite import CELL, blank

RUN = Run(CELL, 0)
PREDICTIONS = pa.table({"example_id": [0, 1], "label": [0, 1], "logit_0": [0.5, -0.5]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results folder."""
    return store_at(tmp_path / "results")


def cell(**changes: Any) -> Cell:
    """Return the sample cell with other fields."""
    return Cell.model_validate(CELL.model_dump() | changes)


def test_written_record_is_read_back_equal(store: Store) -> None:
    """A record and its predictions survive the way to the disk and back."""
    written = blank(RUN, notes={"rank": 2})
    store.write(written, {"test": PREDICTIONS})
    assert store.find(RUN) == written
    assert store.settled(RUN)
    assert store.predictions(RUN) == PREDICTIONS
    assert list(store.records()) == [written]


@pytest.mark.parametrize("suffix", [".json", ".parquet"])
@pytest.mark.parametrize("earlier", [False, True])
def test_write_that_is_cut_off_leaves_nothing_to_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, suffix: str, earlier: bool
) -> None:
    """Where a process dies before a rename, there is no record, and a later attempt succeeds.

    That holds beside an earlier record whose predictions were damaged, too.
    """
    if earlier:
        store.write(blank(RUN), {"test": PREDICTIONS})
        damaged = predictions_path(store.record_path(RUN), "test")
        damaged.write_bytes(damaged.read_bytes()[:-1])
    replace = Path.replace

    def die(written: Path, path: Path) -> None:
        if path.suffix == suffix:
            patch.setattr(Path, "unlink", lambda *_, **__: None)  # the dead take nothing away
            raise KeyboardInterrupt
        replace(written, path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            store.write(blank(RUN), {"test": PREDICTIONS})
    assert list(store.record_path(RUN).parent.glob(f"*{suffix}.part"))
    assert store.find(RUN) is None
    assert not store.settled(RUN)
    assert list(store.records()) == []
    store.write(blank(RUN), {"test": PREDICTIONS})
    assert store.settled(RUN)
    assert not list(store.root.rglob("*.part"))


def test_leftover_of_a_killed_writer_is_never_read(store: Store) -> None:
    """Temporary files beside a record, whole or not, are neither listed nor used."""
    path = store.record_path(RUN)
    path.parent.mkdir(parents=True)
    path.with_name(path.name + ".part").write_text(blank(RUN).model_dump_json())
    path.with_suffix(".parquet.part").write_bytes(b"PAR1")
    assert list(store.records()) == []
    assert store.predictions(RUN) is None
    assert not store.settled(RUN)


@pytest.mark.parametrize("split", ["test", "train", "validation"])
def test_predictions_of_every_split_belong_to_a_run(store: Store, split: str) -> None:
    """Each has its file, and a run with a truncated one is done again."""
    store.write(blank(RUN), dict.fromkeys(("test", "train", "validation", "hard"), PREDICTIONS))
    assert store.predictions(RUN, split) == store.predictions(RUN, "hard") == PREDICTIONS
    assert store.predictions(RUN, "other") is None
    assert store.settled(RUN)
    path = predictions_path(store.record_path(RUN), split)
    path.write_bytes(path.read_bytes()[:-1])
    assert store.status(RUN) is None
    with pytest.raises(RecordError, match="damaged predictions"):
        store.predictions(RUN, split)


def test_full_disk_is_reported_and_leaves_finished_runs_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that the system refuses names the file and the cause."""
    store.write(blank(RUN))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", refuse)
    other = Run(CELL, 1)
    with pytest.raises(StoreError, match=r"seed-1\.json: cannot be written: No space left"):
        store.write(blank(other), {"test": PREDICTIONS})
    assert store.settled(RUN)
    assert not store.settled(other)


@pytest.mark.parametrize("status", Status)
def test_record_is_replaced_only_while_it_is_not_settled(store: Store, status: Status) -> None:
    """Ok, skipped, diverged and pruned runs stay as they are; the others are tried again."""
    final = status in {Status.OK, Status.SKIPPED, Status.DIVERGED, Status.PRUNED}
    store.write(blank(RUN, status, detail="first"))
    assert store.settled(RUN) == final
    before = store.record_path(RUN).read_bytes()
    if final:
        with pytest.raises(StoreError, match="never rewritten"):
            store.write(blank(RUN, detail="second"))
        assert store.record_path(RUN).read_bytes() == before
    else:
        store.write(blank(RUN, detail="second"))
        found = store.find(RUN)
        assert found is not None
        assert found.detail == "second"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_record_is_named_and_done_again(store: Store, share: float) -> None:
    """A record cut off at any length is not a result, and does not stand in the way of one."""
    store.write(blank(RUN))
    path = store.record_path(RUN)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert not store.settled(RUN)
    assert store.find(RUN) is None
    (error,) = store.records()
    assert isinstance(error, RecordError)
    assert str(path) in str(error)
    assert "run the suite again" in str(error)
    store.write(blank(RUN))
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b"{}", b'"text"', b"5", b"\xff\xfe", b'{"schema_version": 1}']
)
def test_file_that_is_no_record_is_reported(store: Store, content: bytes) -> None:
    """Whatever lies in a record's place, reading it gives an error that names the file."""
    path = store.record_path(RUN)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (error,) = store.records()
    assert isinstance(error, RecordError)
    assert str(path) in str(error)
    assert not store.settled(RUN)


def test_record_of_a_newer_schema_is_neither_read_nor_replaced(store: Store) -> None:
    """A record that another version wrote is refused by its version, not by its fields."""
    store.write(blank(RUN))
    path = store.record_path(RUN)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"schema_version": 999}))
    with pytest.raises(RecordError, match="'schema_version' is 999, this version reads 1"):
        read_record(path)
    with pytest.raises(RecordError, match="use the gapbench that wrote it"):
        store.settled(RUN)


@given(backbone=st.text(max_size=40), method=st.text(max_size=40))
def test_odd_names_never_leave_the_folder(backbone: str, method: str) -> None:
    """Slashes, dots, colons and blanks in a name stay one plain path part below the runs."""
    root = Path("/results")
    fingerprint = Fingerprint(name=backbone, digest="0")
    path = Store(root).record_path(Run(cell(backbone=fingerprint, method=method), 0))
    parts = path.relative_to(root / "runs").parts
    assert len(parts) == 5
    assert not {"", ".", ".."} & set(parts)
    assert not any(character in part for part in parts for character in '/\\:*?"<>| \n\0')


@pytest.mark.parametrize("name", ["peft:LORA", "../../../escape", "a/b", "..", ".", "C:\\x", ""])
def test_record_with_an_odd_name_is_found_again(store: Store, name: str) -> None:
    """Whatever a backbone or method is called, its record is listed and settles its run."""
    run = Run(cell(method=name, backbone=Fingerprint(name=name, digest="0")), 0)
    store.write(blank(run))
    assert store.settled(run)
    assert [r.run for r in store.records() if isinstance(r, Record)] == [run]
    assert not list(store.root.parent.glob("escape*"))


def test_names_that_look_alike_on_disk_do_not_collide(store: Store) -> None:
    """Two methods whose names become the same path part have records of their own."""
    runs = [Run(cell(method=name), 0) for name in ("a:b", "a/b", "a_b")]
    for run in runs:
        store.write(blank(run))
    assert len(list(store.records())) == 3


def test_plan_of_a_part_forgets_nothing(store: Store) -> None:
    """Running a part of a suite keeps what the whole suite wants."""
    runs = [(Run(cell(method=m), seed), "default") for m in ("head", "lora") for seed in (0, 1)]
    store.write_plan("small", runs)
    whole = store.plans()
    store.write_plan("small", runs[:1])
    assert store.plans() == whole
    assert [row.run_hash for row in whole] == [run.hash for run, _ in runs]
    assert [row.seed for row in whole] == [0, 1, 0, 1]


def test_plan_with_a_changed_setting_replaces_the_label(store: Store) -> None:
    """A label stands for one run: the one that the suite wanted last."""
    old, new = Run(cell(), 0), Run(cell(config={"rank": 4}), 0)
    store.write_plan("small", [(old, "default"), (old, "wide")])
    store.write_plan("small", [(new, "wide")])
    wanted = {row.variant: row.run_hash for row in store.plans()}
    assert wanted == {"default": old.hash, "wide": new.hash}


def test_plans_of_suites_are_apart(store: Store) -> None:
    """Each suite has its own plan, and they are listed together."""
    store.write_plan("one", [(RUN, "default")])
    store.write_plan("two", [(RUN, "default")])
    assert [row.suite for row in store.plans()] == ["one", "two"]


def test_path_in_a_plan_leads_to_the_record(store: Store) -> None:
    """A plan says where each record will lie, relative to the results folder."""
    store.write_plan("small", [(RUN, "default")])
    (row,) = store.plans()
    assert store.root / row.path == store.record_path(RUN)


@pytest.mark.parametrize("content", ["", "[]", '{"runs": [{"suite": "small"}]}', '{"runs": 3}'])
def test_damaged_plan_is_named(store: Store, content: str) -> None:
    """A plan that cannot be read is an error with the way out, not an empty plan."""
    path = store.root / "plans" / "small.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"small\.json: not a plan; delete it"):
        store.plans()


def test_folder_below_a_file_cannot_be_opened(tmp_path: Path) -> None:
    """A place that cannot be a folder is refused with the way out."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be written: .*; give another one with --results"):
        store_at(tmp_path / "file" / "results")


def test_claim_leaves_out_what_is_settled_or_held(store: Store) -> None:
    """Whoever claims gets exactly the runs that nobody has finished and nobody works on."""
    runs = [Run(CELL, seed) for seed in range(4)]
    store.write(blank(runs[0]))
    store.write(blank(runs[1], Status.FAILED))
    with store.claim(runs[:3]) as first, Store(store.root).claim(runs) as second:
        assert first == runs[1:3]
        assert second == runs[3:]
    with store.claim(runs) as again:
        assert again == runs[1:]


def test_claim_is_released_by_an_error(store: Store) -> None:
    """Work that fails gives its claims back."""
    with pytest.raises(ZeroDivisionError), store.claim([RUN]):
        raise ZeroDivisionError
    with store.claim([RUN]) as mine:
        assert mine == [RUN]


def test_lock_files_of_finished_runs_are_removed(store: Store) -> None:
    """A finished run leaves no lock file behind."""
    with store.claim([RUN]):
        store.write(blank(RUN))
    assert list((store.root / "claims").iterdir()) == []
