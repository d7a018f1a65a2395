"""The docs site: what `make docs` refuses."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.small_suite import REPOSITORY


@pytest.mark.slow
def test_broken_link_is_an_error_every_time(tmp_path: Path) -> None:
    """Also where the pages have not changed since the last call; without it, none is."""
    for package in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(package, reason="the extra `docs` brings the builder of the site")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"/sphinx-build (.*)", makefile)
    page = tmp_path / "docs" / "index.md"
    page.parent.mkdir()
    shutil.copy(REPOSITORY / "docs" / "conf.py", page.parent)

    def build() -> int:
        command = [sys.executable, "-m", "sphinx", *shlex.split(recipe)]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode

    page.write_text("# Page\n\n[Other](other.md)\n", encoding="utf-8")
    assert [build(), build()] == [1, 1]
    page.write_text("# Page\n\nNo link.\n", encoding="utf-8")
    assert build() == 0
