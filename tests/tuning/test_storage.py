"""The results folder's own storage, wherever that folder is."""

from pathlib import Path

import pytest

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
        storage = connect(default_url(folder), folder)
        assert storage.get_all_studies() == []
        storage.create_new_study([], name)
        assert (folder / "studies.db").is_file()
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)
    for name in NAMES:
        (study,) = connect(default_url(tmp_path / name), tmp_path / name).get_all_studies()
        assert study.study_name == name
