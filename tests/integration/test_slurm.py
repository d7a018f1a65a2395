"""A job array on a Slurm of one node: it fills the results folder, is pre-empted, and goes on."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gapbench
from gapbench.bench.api.advising import start
from gapbench.bench.store.store import Store
from tests.support.small_suite import REPOSITORY, SmallSuite, call, make, numbers, searched

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
METHODS = ["head", {"method": "lora", "config": {"rank": 2}}, "majority"]
SHORT = {"steps": 10, "batch_size": 4, "evaluations": 3}
LONG = SHORT | {"steps": 300}


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    """A Slurm of one node with folder and ports of its own; its folder."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)}: not installed (Debian: slurmctld slurmd munge)")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # sockets need short paths
    ports = {name: str(free_port()) for name in ("SLURMCTLD_PORT", "SLURMD_PORT")}
    with (folder / "start.log").open("w") as log:  # its daemons would keep a pipe open
        started = subprocess.run(
            [REPOSITORY / "tests" / "support" / "start_slurm.sh", folder],
            env=os.environ | ports,
            stdout=log,
            stderr=log,
            check=False,
        )
    try:
        if started.returncode:
            pytest.skip(f"Slurm does not start here: {(folder / 'start.log').read_text()}")
        yield folder
    finally:
        for daemon in ("slurmd", "slurmctld", "munged"):
            path = folder / f"{daemon}.pid"
            if path.is_file():
                os.kill(int(path.read_text()), signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def at_slurm(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands and their jobs find it, and the package where it is not installed."""
    monkeypatch.setenv("SLURM_CONF", str(slurm / "slurm.conf"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of 9 runs."""
    return make(tmp_path / "small", make_backbone("bert"), methods=METHODS, budget=SHORT, seeds=3)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.usefixtures("at_slurm")
def test_array_that_is_preempted_goes_on_and_leaves_the_same_records(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """An urgent job takes the node in mid-run; the array is queued again and ends the suite."""
    small.write_suite(budget=LONG, seeds=4)  # long enough to be met in training
    urgent, seen = small.folder / "urgent.sh", small.folder / "seen"
    urgent.write_text(f"#!/bin/sh\nsqueue --noheader --name=gapbench --format=%T > {seen}\n")
    hurry = f"sbatch --partition=urgent --exclusive --output=/dev/null {urgent}"
    first_record = f"{small.results}/runs/*/*/*/*/*.json"
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", f"until ls {first_record}; do sleep 0.1; done; {hurry}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    flags = ("--stack", "1", "--json")
    answer = call(capsys, "run", *small.running, *flags, "--engine", "slurm", "--workers", "2")
    watcher.wait()
    assert answer.code == 0, answer.err
    assert answer.json == {"suite": "small", "runs": 12, "now": {"ok": 12}}
    assert set(seen.read_text().split()) == {"PENDING"}  # the array, while the urgent job ran
    other = small.folder / "other"
    assert call(capsys, "run", *small.planning, "--results", other, *flags).code == 0
    assert numbers(Store(small.results)) == numbers(Store(other))


@pytest.mark.usefixtures("at_slurm")
def test_array_that_searches_finds_what_a_local_search_finds(
    small: SmallSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """The elements search side by side; a trial depends on its study alone."""
    flags = ("--methods", "head,lora", "--trials", "8", "--seeds", "1", "--json")
    answer = call(capsys, "tune", *small.running, *flags, "--engine", "slurm", "--workers", "1")
    assert answer.code == 0, answer.err
    other = small.folder / "other"
    assert call(capsys, "tune", *small.planning, "--results", other, *flags).code == 0
    found, alone = searched(small.results), searched(other)
    assert [len(trials) for trials in found] == [8, 8]
    assert found == alone


@pytest.mark.usefixtures("at_slurm")
def test_advice_from_arrays_is_that_of_one_process(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block is an array; the race and the final runs leave the records of one process."""
    monkeypatch.setattr(start, "SEEDS", 2)
    alone = small.folder / "alone"
    for results, engine in ((small.results, {"engine": "slurm", "workers": 1}), (alone, {})):
        gapbench.advise(
            small.path,
            data=small.data,
            results=results,
            methods=["lora", "head"],
            arms=2,
            folds=2,
            repeats=1,
            progress=False,
            **engine,
        )
    assert list((small.results / "slurm").iterdir())
    for part in ("race", "."):
        found, expected = (numbers(Store(folder / part)) for folder in (small.results, alone))
        assert found == expected
        assert found
