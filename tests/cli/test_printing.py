"""Output never costs an exit code: any name can be printed anywhere, or nowhere."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.small_suite import REPOSITORY, SmallSuite, make

NAME = "größe \N{GREEK SMALL LETTER ALPHA}=0.1 \u65e5\u672c"
ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """Four runs of methods whose names few encodings have."""
    methods = [{"method": "head", "variant": NAME}, {"method": "majority", "variant": f"{NAME} 2"}]
    return make(tmp_path / "small", make_backbone("bert"), methods=methods, seeds=2)


COMMANDS = (
    "import json, sys; from gapbench.bench.cli.main import main; "
    "codes = [main(words) for words in json.loads(sys.argv[1])]; sys.exit(max(codes))"
)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_names_that_a_terminal_cannot_show_are_escaped(small: SmallSuite, environment: str) -> None:
    """Commands end as they would elsewhere, in every encoding and locale."""
    folder = str(small.results)
    commands = [
        ["run", *small.running, "--workers", "1"],
        ["plan", *small.running],
        ["leaderboard", folder],
        ["compare", "head", "majority", folder],
    ]
    ended = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENTS[environment],
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert rb"gr\xf6\xdfe \u03b1=0.1" in ended.stdout


@pytest.mark.parametrize("redirection", [">&- 2>&-", "2>/dev/full", "2>&1 | head -n 1"])
def test_runs_end_well_where_nobody_reads(small: SmallSuite, redirection: str) -> None:
    """A stream that is closed, full or without a reader stops no run."""
    command = [sys.executable, "-m", "gapbench", "run", *small.running]
    line = f"set -o pipefail; {shlex.join(command)} --workers 1 {redirection}"
    ended = subprocess.run(
        ["/bin/bash", "-c", line], cwd=REPOSITORY, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert len(small.records()) == 4
