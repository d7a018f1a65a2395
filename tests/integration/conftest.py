"""Fixtures of whole-program tests."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.second_files import Files, write_files
from tests.support.shared_cases import Command
from tests.support.small_suite import call


@pytest.fixture
def copied(
    shared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a function that copies the files of a case and works beside them."""

    def copy(name: str) -> Path:
        if not (shared_folder / "cases" / name).is_dir():
            pytest.skip(f"no cases in {shared_folder}")
        folder = Path(shutil.copytree(shared_folder / "cases" / name, tmp_path / name))
        monkeypatch.chdir(folder)
        return folder

    return copy


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that calls a command as it stands in a README."""
    return lambda line: call(capsys, *shlex.split(line))


@pytest.fixture(scope="module")
def second_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """Rows and decoder of a suite with second tests, written once for a module."""
    folder = tmp_path_factory.mktemp("second")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAPBENCH_CACHE", str(folder / "cache"))
        yield write_files(folder)
