"""A cluster's address where something listens and never answers."""

import socket
import time
from pathlib import Path
from typing import Any

from tests.support.small_suite import begin


def stopped(out: Path, *arguments: Any) -> tuple[int | None, str, float]:
    """Send SIGTERM to a command that waits there; return code, what it said, and its seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        process = begin(out, *arguments, "--engine", "ray", RAY_ADDRESS=address)
        server.accept()[0].close()
        time.sleep(2)
        asked = time.monotonic()
        process.terminate()
        process.join(60)
        return process.exitcode, out.with_suffix(".err").read_text(), time.monotonic() - asked
