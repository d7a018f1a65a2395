"""Files and databases that do not wait for the disk: no test cuts the power."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import Engine, event


@contextmanager
def without_waiting() -> Iterator[None]:
    """Leave to the system when it writes what this process stores."""
    event.listen(Engine, "connect", _hasten)
    try:
        with mock.patch.object(os, "fsync", return_value=None):
            yield
    finally:
        event.remove(Engine, "connect", _hasten)


def _hasten(connection: Any, _record: object) -> None:
    """Let SQLite commit as soon as the system has the data; a killed process loses none."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
