"""No connection is opened unless a hub id asks for it, and with --offline not even then."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gapbench.bench.store.store import store_at
from tests.support.small_suite import CELL, REPOSITORY, Run, SmallSuite, blank, call

Capture = pytest.CaptureFixture[str]

REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB_DATA = {"hub": "owner/animals", "config": "cats", "revision": REVISION}
HUB_BACKBONE = f"owner/tiny@{REVISION}"

# Loaded by every Python process that finds it: notes the process, then whatever leaves the machine.
WITNESS = """
import os, sys

def note(text):
    with open(os.environ["WITNESS"], "a") as file:
        file.write(text + "\\n")

def hook(event, arguments):
    remote = event == "socket.getaddrinfo"
    if event in {"socket.connect", "socket.sendto"}:
        remote = isinstance(arguments[1], tuple)
    if remote:
        note(f"remote {event} {arguments[-5:]}")
        raise ConnectionRefusedError("no connection may be opened")

note(f"process {os.getpid()}")
sys.addaudithook(hook)
"""


@pytest.mark.parametrize("command", ["check", "plan", "run", "tune", "fetch"])
@pytest.mark.parametrize("what", ["data", "backbone"])
def test_offline_refuses_a_hub_id_before_any_connection(
    small: SmallSuite, capsys: Capture, tried: list[str], command: str, what: str
) -> None:
    """With --offline a hub id is refused by its name and with the way out, and nobody is asked."""
    if what == "data":
        small.write_task(source=HUB_DATA)
    else:
        small.write_suite(backbones=[HUB_BACKBONE])
    arguments = [small.path] if what == "data" else small.planning
    arguments += {"check": [], "fetch": ["--out", small.folder / "mirror"]}.get(
        command, ["--results", small.results]
    )
    answer = call(capsys, command, *arguments, "--offline")
    assert answer.code == 2
    assert "would come from the hub (owner/" in answer.err
    assert "--offline forbids" in answer.err
    assert f"its folder with --{what} DIR" in answer.err
    assert tried == []
    assert not small.results.exists()
    assert not (small.folder / "mirror").exists()


@pytest.mark.parametrize("more", [["--precision", "auto"], []], ids=["auto", "plain"])
def test_offline_holds_before_anything_is_measured(
    small: SmallSuite, capsys: Capture, tried: list[str], more: list[str]
) -> None:
    """What looks at a backbone to measure something does not look for it on the hub."""
    flags = ["--backbone", HUB_BACKBONE, "--offline"]
    command = ["plan", *small.running, *more] if more else ["bench"]
    answer = call(capsys, *command, *flags)
    assert answer.code == 2
    assert "--offline forbids" in answer.err
    assert tried == []


@pytest.mark.parametrize("command", ["reproduce", "export"])
@pytest.mark.parametrize("what", ["data", "backbone"])
def test_offline_refuses_the_hub_for_a_stored_run(
    tmp_path: Path, capsys: Capture, tried: list[str], command: str, what: str
) -> None:
    """Likewise where a record says that its data came from the hub, or a flag names a backbone."""
    run = Run(CELL, 0)
    store_at(tmp_path / "results").write(blank(run))
    arguments = [run.hash, "--results", tmp_path / "results", "--offline"]
    arguments += ["--backbone", HUB_BACKBONE] if what == "backbone" else []
    arguments += ["--out", tmp_path / "adapter"] if command == "export" else []
    answer = call(capsys, command, *arguments)
    assert answer.code == 2
    assert "--offline forbids" in answer.err
    assert tried == []


def test_guard_sees_what_asks_the_hub(small: SmallSuite, capsys: Capture, tried: list[str]) -> None:
    """Without --offline a hub id is asked for, so the lists that stay empty elsewhere mean it."""
    small.write_suite(backbones=[HUB_BACKBONE])
    answer = call(capsys, "check", *small.planning)
    assert answer.code == 2
    assert "cannot be loaded" in answer.err
    assert tried


def test_local_sources_need_no_network(
    small: SmallSuite, capsys: Capture, tried: list[str]
) -> None:
    """With data and backbone in folders, no command opens a connection, --offline or not."""
    place = ["--results", small.results]
    sources = ["--data", small.data, "--backbone", small.backbone]
    assert call(capsys, "check", *small.planning).code == 0
    assert call(capsys, "plan", *small.running, "--offline").code == 0
    assert call(capsys, "run", *small.running, "--offline").code == 0
    (lora,) = (small.results / "runs").glob("animals/*/lora/*/seed-0.json")
    assert call(capsys, "reproduce", lora, *place, *sources).code == 0
    out = ["--out", small.folder / "adapter"]
    assert call(capsys, "export", lora, *place, *sources, *out, "--offline").code == 0
    mirror = ["--out", small.folder / "mirror"]
    assert call(capsys, "fetch", *small.planning, *mirror, "--offline").code == 0
    for command in ("status", "leaderboard", "report"):
        assert call(capsys, command, small.results).code == 0
    assert tried == []


@pytest.mark.slow
def test_quickstart_needs_no_network_in_any_process(tmp_path: Path) -> None:
    """Built-in tasks and backbones: neither the driver nor a worker opens a connection."""
    (tmp_path / "sitecustomize.py").write_text(WITNESS)
    log = tmp_path / "witness.txt"
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY / 'src'}", "WITNESS": str(log)}
    part = ["--tasks", "syn_sentiment", "--methods", "head,majority", "--seeds", "1"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gapbench.bench.cli.main",
            "run",
            "quickstart",
            *part,
            "--workers",
            "2",
        ],
        cwd=tmp_path,
        env=os.environ | paths | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kinds = [line.split()[0] for line in log.read_text().splitlines()]
    assert set(kinds) == {"process"}, log.read_text()
    assert len(kinds) >= 3  # the command and two workers


def test_folder_of_a_repository_is_not_taken_for_it(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tried: list[str]
) -> None:
    """A folder that is called as the pinned repository does not stand in for it unnoticed."""
    monkeypatch.chdir(small.folder)
    (small.folder / "owner" / "tiny").mkdir(parents=True)
    answer = call(capsys, "plan", *small.running, "--backbone", HUB_BACKBONE)
    assert answer.code == 2
    assert "the working directory has a folder 'owner/tiny', which would be taken" in answer.err
    assert tried == []


def test_peft_keeps_programs_of_the_hub_out(tmp_path: Path) -> None:
    """PEFT imports bitsandbytes, which would load kernels of the hub where `kernels` is."""
    pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    asked = "from pathlib import Path; Path(__file__).with_name('asked').touch()\n"
    (tmp_path / "kernels.py").write_text(f"{asked}def get_kernel(*given): raise ImportError\n")
    places = os.pathsep.join([str(tmp_path), *sys.path])
    program = "from gapbench.bench.adaptation import registry; registry.get('peft:LORA')"
    made = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "gemm_4bit" not in made.stderr
    assert not (tmp_path / "asked").exists()
