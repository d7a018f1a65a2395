"""The results folder's own storage, wherever that folder is, and a database that is silent."""

import socket
import time
from pathlib import Path

import pytest

from gapbench.bench.core.errors import StoreError
from gapbench.bench.tuning import storage
from gapbench.bench.tuning.storage import connect, default_url

NAMES = [
    "lr?1",
    "lr?2",
    "100%20",
    "a#b",
    "a@b:c",
    "a{b}",
    "file:x",
    ":memory:",
    "a b&c=d",
    "\u00e9",
]
"""Names of folders that mean something else, or nothing, in a URL."""


def test_studies_stay_in_the_results_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder has a database of its own, and nothing is written beside them."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        folder = Path(name)
        folder.mkdir()
        opened = connect(default_url(folder), folder)
        assert opened.get_all_studies() == []
        opened.create_new_study([], name)
        assert (folder / "studies.db").is_file()
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)
    for name in NAMES:
        (study,) = connect(default_url(tmp_path / name), tmp_path / name).get_all_studies()
        assert study.study_name == name


def test_database_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its driver would wait for ever where a host accepts a connection and says no more."""
    pytest.importorskip("psycopg", reason="needs the driver psycopg")
    monkeypatch.setitem(storage._WAITS["psycopg"], "connect_timeout", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://me@127.0.0.1:{silent.getsockname()[1]}/studies"
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"cannot be reached: .*timeout"):
            connect(url, tmp_path)
        assert time.monotonic() - began < 30
