"""Addresses at which no Ray cluster answers: refused at once, and no wait outlasts SIGTERM."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.silent_cluster import stopped
from tests.support.small_suite import SmallSuite, call, make

pytest.importorskip("ray", reason="the extra `ray` is not installed")
from gapbench.bench.execution.engines import ray as engine


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of one run."""
    return make(tmp_path / "small", make_backbone("bert"), methods=["majority"], seeds=1)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "ray://127.0.0.1:1",
        "ray://127.0.0.1",
        "[::1]:1",
        "no-such-host.invalid:1",
        "a:99999",
    ],
)
def test_dead_address_is_refused_at_once(
    small: SmallSuite,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
) -> None:
    """Ray alone would try for a quarter of an hour."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    answer = call(capsys, "run", *small.running, "--engine", "ray")
    assert time.monotonic() - began < 30
    assert answer.code == 2
    assert "--engine ray: no cluster can be reached" in answer.err
    assert "correct RAY_ADDRESS" in answer.err


def test_address_of_something_else_is_given_up(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something listens that never answers; Ray would go on trying for many minutes."""
    asked, over = threading.Event(), threading.Event()

    def join() -> None:
        asked.set()
        over.wait(60)

    monkeypatch.setattr(engine, "_init", join)
    monkeypatch.setattr(engine, "_JOIN_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        answer = call(capsys, "run", *small.running, "--engine", "ray")
    over.set()
    assert asked.is_set()
    assert answer.code == 2
    assert f"what listens at {address} has not answered in 1 s; correct RAY_ADDRESS" in answer.err


@pytest.mark.slow
def test_waiting_for_a_cluster_ends_at_sigterm(small: SmallSuite, tmp_path: Path) -> None:
    """Something listens that never answers; the command ends in seconds, and can be resumed."""
    code, err, seconds = stopped(tmp_path / "out", "run", *small.running)
    assert seconds < 20
    assert code == 130
    assert "run the same command again to resume" in err
