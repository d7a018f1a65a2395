"""Files appear whole or not at all, and leave nothing beside them."""

import os
from pathlib import Path

import pytest

from gapbench.bench.core.files import part, replacing, write_text


def test_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    """What was there stays until all is written, and for good where the writing fails."""
    path = tmp_path / "file.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path) -> None:
    """Fail in the middle of writing."""
    with replacing(path) as own:
        own.write_text("half")
        assert path.read_text() == "old"
        raise ZeroDivisionError


def test_name_beside_is_that_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that write at once do not write into one file; the later one counts."""
    path = tmp_path / "file.json"
    with replacing(path) as first:
        first.write_text("first")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        write_text(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_holder_of_a_lock_writes_under_one_name(tmp_path: Path) -> None:
    """What a process that was killed has left there is overwritten, and then gone."""
    path = tmp_path / "file.json"
    part(path).write_text("left by another process")
    with replacing(path, locked=True) as own:
        assert own == part(path)
        own.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_link_beside_is_not_followed(tmp_path: Path) -> None:
    """Neither one at the name to write under, nor one at the place itself."""
    path, victim = tmp_path / "file.json", tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with replacing(path) as own:
        pass_on = own
        own.write_text("any")
    pass_on.symlink_to(victim)
    write_text(path, "new")
    assert (victim.read_text(), path.read_text()) == ("precious", "new")
    assert not path.is_symlink()


def test_content_is_on_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of the machine cannot leave an empty file under the name."""
    path, before = tmp_path / "file.json", []
    monkeypatch.setattr(os, "fsync", lambda _: before.append(path.exists()))
    write_text(path, "new")
    assert before == [False]
