"""What the answers of Slurm's `squeue` say of an array, with a program that gives them."""

import os
import shlex
from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines import slurm
from gapbench.bench.execution.engines.base import Settings
from gapbench.bench.execution.work_queue import WorkQueue
from gapbench.bench.store.store import Store

QUEUED = "77_0 main gapbench somebody R 0:10 1 node"
GONE = "slurm_load_jobs error: Invalid job id specified"
BUSY = "slurm_load_jobs error: Socket timed out on send/recv operation"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose programs are found first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def answer(programs: Path, *said: tuple[str, str, int]) -> None:
    """Let `squeue` answer in turn by stdout, stderr and exit code, and by the last from then on."""
    asked = programs / "asked"
    lines = ["#!/bin/sh", f"echo >> {asked}", f"case $(wc -l < {asked}) in"]
    for number, (out, err, code) in enumerate(said, 1):
        case = number if number < len(said) else "*"
        told = f"printf %s {shlex.quote(out)}; printf %s {shlex.quote(err)} >&2"
        lines.append(f"{case}) {told}; exit {code};;")
    path = programs / "squeue"
    path.write_text("\n".join([*lines, "esac", ""]))
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("said", "alive"),
    [
        ((QUEUED, "", 0), True),
        (("", "", 0), False),
        (("", GONE, 1), False),
        (("", BUSY, 1), True),
        (("", "", 1), True),
    ],
    ids=["queued", "ended", "forgotten", "busy", "silent"],
)
def test_only_an_answer_ends_an_array(
    said: tuple[str, str, int], alive: bool, programs: Path
) -> None:
    """An array has ended where Slurm says so, and not where it cannot be asked."""
    answer(programs, said)
    assert slurm._in_queue("77") == alive


def test_array_is_followed_past_a_failing_question(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait goes on after `squeue` failed, and ends when the array has left the queue."""
    monkeypatch.setattr(slurm, "_POLL_S", 0.0)
    monkeypatch.setattr(slurm, "_ended", lambda *_, **__: False)
    answer(programs, (QUEUED, "", 0), ("", BUSY, 1), (QUEUED, "", 0), ("", "", 0))
    jobs = [object()]
    queue = WorkQueue([], lambda *_: None, None)
    assert slurm._wait(queue, jobs, Store(tmp_path / "results"), "77") == jobs  # type: ignore[arg-type]
    assert (programs / "asked").read_text().count("\n") == 4


@pytest.mark.parametrize("name", ["100%20", "%j", "50%"])
def test_folder_whose_log_files_slurm_would_put_elsewhere_is_refused(
    name: str, tmp_path: Path
) -> None:
    """Slurm replaces a percent sign and what follows it in the paths of log files."""
    with pytest.raises(ConfigError, match=r"Slurm replaces what follows a % in a path"):
        slurm.work(WorkQueue([], lambda *_: None, None), Settings(tmp_path / name, Sources()))
