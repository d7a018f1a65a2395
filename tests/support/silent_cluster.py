"""A cluster's address where something listens and never answers."""

import signal
import socket
import time
from typing import Any

import pytest

from tests.support.small_suite import start


def stopped(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> tuple[int, str, float]:
    """Send SIGTERM to a command that waits there; return code, what it said, and its seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        process = start(*arguments, "--engine", "ray")
        server.accept()[0].close()
        time.sleep(2)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        return process.returncode, err, time.monotonic() - asked
