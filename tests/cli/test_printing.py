"""Output never costs an exit code: any name can be printed anywhere, or nowhere."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.small_suite import REPOSITORY, SmallSuite, make, start

NAME = "größe \N{GREEK SMALL LETTER ALPHA}=0.1 \u65e5\u672c"
ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, make_backbone: Callable[[str], Path]
) -> SmallSuite:
    """Two runs of methods whose names few encodings have, done by a terminal of ASCII."""
    methods = [{"method": "head", "variant": NAME}, {"method": "majority", "variant": f"{NAME} 2"}]
    folder = tmp_path_factory.mktemp("printing") / "small"
    small = make(folder, make_backbone("bert"), methods=methods, seeds=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONIOENCODING", "ascii")
        process = start("run", *small.running, "--workers", "1")
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert r"gr\xf6\xdfe \u03b1=0.1" in out
    return small


COMMANDS = (
    "import json, sys; from gapbench.bench.cli.main import main; "
    "codes = [main(words) for words in json.loads(sys.argv[1])]; sys.exit(max(codes))"
)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_names_that_a_terminal_cannot_show_are_escaped(done: SmallSuite, environment: str) -> None:
    """Commands end as they would elsewhere, in every encoding and locale."""
    folder = str(done.results)
    commands = [
        ["plan", *done.running],
        ["leaderboard", folder],
        ["compare", "head", "majority", folder],
    ]
    done_here = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENTS[environment],
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done_here.stderr
    assert done_here.returncode == 0, done_here.stderr


@pytest.mark.parametrize("redirection", [">&- 2>&-", "2>/dev/full", "2>&1 | head -n 1"])
def test_runs_end_well_where_nobody_reads(
    done: SmallSuite, tmp_path: Path, redirection: str
) -> None:
    """A stream that is closed, full or without a reader stops no run."""
    command = [sys.executable, "-m", "gapbench", "run", *done.planning, "--results", str(tmp_path)]
    line = f"set -o pipefail; {shlex.join(command)} --workers 1 {redirection}"
    ended = subprocess.run(
        ["/bin/bash", "-c", line], cwd=REPOSITORY, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.glob("runs/**/seed-*.json"))) == 4
