"""A hub on this computer that knows one token and takes small files, for tests of pushing."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_" + "t" * 34
COMMIT = "c" * 40
GATED = "owner/kept"
"""Repository that is kept for those who have asked for access, which nobody has."""


@dataclass
class Hub:
    """What the hub was asked and got.

    Attributes:
        address: its endpoint.
        repositories: the visibility of each that was made, by name.
        files: content by path, of the last commit.
        paths: every path that was asked for.
    """

    address: str = ""
    repositories: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = Hub(f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        """Answer about a file of a repository; there is only the gated one."""
        self._answer({})

    def do_GET(self) -> None:
        """Answer who somebody is."""
        self._answer({"type": "user", "name": "owner", "auth": {}})

    def do_POST(self) -> None:
        """Make a repository, say how files come, look at a card, or take a commit."""
        hub = self.server.hub
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/repos/create"):
            given = json.loads(content)
            hub.repositories["owner/" + given["name"]] = given["visibility"]
            self._answer({"url": f"{hub.address}/owner/{given['name']}"})
        elif "/preupload/" in self.path:
            names = [each["path"] for each in json.loads(content)["files"]]
            how = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self._answer({"files": [{"path": name} | how for name in names]})
        elif self.path.endswith("/validate-yaml"):
            self._answer({"errors": [], "warnings": []})
        else:
            lines = [json.loads(line) for line in content.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            hub.files = {each["path"]: base64.b64decode(each["content"]) for each in files}
            address = f"{hub.address}/owner/name/commit/{COMMIT}"
            self._answer({"commitUrl": address, "commitOid": COMMIT, "success": True})

    def _answer(self, content: dict[str, Any]) -> None:
        self.server.hub.paths.append(self.path)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        gated = GATED in self.path
        body = json.dumps(content if known else {"error": "Invalid credentials"}).encode()
        self.send_response(403 if gated else 200 if known else 401)
        if gated:
            self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def running() -> Iterator[Hub]:
    """Start a hub on a free port, and stop it at the end."""
    server = _Server()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
