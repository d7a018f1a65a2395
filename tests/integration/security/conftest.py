"""A guard that no connection passes, and a small suite to work on behind it."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_suite import SmallSuite, make


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A valid suite with local data and a local backbone, in a folder of its own."""
    return make(tmp_path / "small", make_backbone("bert"), seeds=1)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let no connection leave this process, and return the list of those that were tried."""
    asked: list[str] = []
    connect = socket.socket.connect

    def refuse(host: object, *_: object, **__: object) -> Any:
        asked.append(str(host))
        raise socket.gaierror(f"no connection may be opened, and {host} was asked for")

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:  # processes of this machine talk by these
            return connect(self, address)
        return refuse(address)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded)
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's client waits before it retries
    return asked


@pytest.fixture
def keep_umask() -> Iterator[Callable[[int], int]]:
    """Return a function that sets the umask, which is as it was afterwards."""
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)
