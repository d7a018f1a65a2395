"""Storage of studies: SQLite in the results folder, a database, or a journal file."""

import re
from pathlib import Path
from urllib.parse import unquote_plus

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, make_url

from gapbench.bench.core.errors import StoreError, passwords, without_password
from gapbench.bench.core.files import lock, refuse_outside
from gapbench.bench.store.store import STUDIES

JOURNAL = "journal:"
"""Prefix of the path of a journal file."""
_FILES = ("studies.db", "studies.db-journal", "studies.db-wal", "studies.db-shm")  # files of SQLite
_SHARED_FILE = "studies.log"
_WAITS: dict[str, dict[str, int]] = {
    "pysqlite": {"timeout": 60},  # for another process that writes to the same file
    "psycopg": {"connect_timeout": 10},  # without it, for ever; so the next one
    "psycopg2": {"connect_timeout": 10},
}
"""Seconds that a driver waits for an answer, as an argument of its connections."""


def default_url(results: Path, *, shared: bool = False) -> str:
    """Return the URL of the results folder's own storage; the path may hold any character.

    Args:
        results: the results folder.
        shared: whether computers share the folder over a network, where SQLite's locks may fail.
    """
    if shared:
        return f"{JOURNAL}{(results / _SHARED_FILE).absolute()}"
    path = str((results / _FILES[0]).absolute())  # SQLite would read `file:` as its own URL
    return URL.create("sqlite", database=path).render_as_string()


def connect(url: str, results: Path) -> BaseStorage:
    """Open a storage, and create its tables if needed.

    Args:
        url: URL in Optuna's form, or ``journal:PATH``.
        results: existing results folder; one process at a time creates tables.

    Raises:
        StoreError: if it cannot be reached, or leads out of its results folder.
    """
    # Both would follow a link; another URL is the user's own.
    if url in (default_url(results), default_url(results, shared=True)):
        for name in (*_FILES, _SHARED_FILE):
            refuse_outside(results, results / name)
    shown = without_password(url)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study and trial
    try:
        if url.startswith(JOURNAL):
            return JournalStorage(JournalFileBackend(url.removeprefix(JOURNAL)))
        asked = make_url(url)
        waits = _WAITS.get(asked.get_driver_name(), {})
        waits = {name: limit for name, limit in waits.items() if name not in asked.query}
        with lock(results / STUDIES / "storage.lock"):
            tables = RDBStorage(url, engine_kwargs={"connect_args": waits})
        return optuna.storages.get_storage(tables)
    except ImportError:
        raise StoreError(
            f"--storage {shown}: the driver of such a database is not installed; that of "
            "PostgreSQL is psycopg (pip install 'psycopg[binary]')"
        ) from None
    # Other errors depend on the database's driver.
    except Exception as error:
        raise StoreError(
            f"--storage {shown}: cannot be reached: {_cause(error, url)}; "
            f"give sqlite:///FILE, postgresql://USER@HOST/NAME or {JOURNAL}FILE"
        ) from None


def _cause(error: Exception, url: str) -> str:
    """Return the first line of an error without the password, even if a driver repeats it."""
    hidden = passwords(url)
    if any(re.search(r"[@:/?#\s]", password) for password in hidden):  # drivers may repeat a part
        escaped = "@ as %40, : as %3A, / as %2F, ? as %3F, # as %23"
        return f"{type(error).__name__}; in a password write {escaped}"
    cause = next(iter(str(error).replace(url, without_password(url)).strip().splitlines()), "")
    for password in hidden:
        for form in (password, unquote_plus(password)):
            cause = cause.replace(form, "***")
    return cause or type(error).__name__
