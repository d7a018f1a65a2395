"""Studies in a database and in a journal file; Optuna's dashboard as a reader of any of them."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
import sqlalchemy

from gapbench.bench.tuning.storage import connect, default_url
from gapbench.bench.tuning.summary import read_summaries
from tests.support.planted_study import REGRESSION
from tests.support.postgres import postgres, programs
from tests.support.small_suite import PROCESSES, SmallSuite, make, run_command

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

TRIALS = 10


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of two studies."""
    methods = ["head", {"method": "lora", "config": {"rank": 2}}]
    budget = {"steps": 6, "batch_size": 4, "evaluations": 2}
    small = make(tmp_path / "small", make_backbone("bert"), methods=methods, budget=budget)
    small.write_task(**REGRESSION)
    return small


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of an empty database."""
    pytest.importorskip("psycopg", reason="needs the driver psycopg")
    binaries = programs()
    if binaries is None:
        pytest.skip("needs PostgreSQL's server programs (Debian: apt-get install postgresql)")
    with postgres(binaries) as url:
        yield url


def started(small: SmallSuite, folder: Path, *flags: str) -> Any:
    """Start tuning in a process of its own."""
    command = ["tune", *small.planning, "--results", str(folder), "--trials", str(TRIALS)]
    command += ["--stack", "1", "--workers", "1", "--json", *flags]
    process = PROCESSES.Process(
        target=run_command,
        args=(folder.with_name(f"{folder.name}-{time.monotonic_ns()}"), *command),
    )
    process.start()
    return process


def told(folder: Path) -> dict[str, list[Any]]:
    """Return what the trials of every study were and scored."""
    return {
        summary.study.name: [
            (trial.number, trial.state, trial.params, trial.validation_score)
            for trial in summary.study.trials
        ]
        for summary in read_summaries(folder)
    }


def test_database_and_journal_hold_the_trials_that_sqlite_would(
    small: SmallSuite, tmp_path: Path, database: str
) -> None:
    """Two processes share a database, one is killed; nothing is lost, doubled or different."""
    places = {"sqlite": (), "journal": ("--storage", f"journal:{tmp_path / 'studies.log'}")}
    for name, flags in places.items():
        process = started(small, tmp_path / name, *flags)
        process.join()
        assert process.exitcode == 0
    folder, flags = tmp_path / "database", ("--storage", database)
    victim, other = started(small, folder, *flags), started(small, folder, *flags)
    while not any(trials for trials in told(folder).values()):
        assert other.is_alive()
        time.sleep(0.05)
    victim.kill()
    victim.join()
    other.join()
    assert other.exitcode == 0
    with sqlalchemy.create_engine(database, poolclass=sqlalchemy.NullPool).connect() as connection:
        states = connection.execute(
            sqlalchemy.text("select state, count(*) from trials group by 1")
        )
        assert states.all() == [("COMPLETE", 2 * TRIALS)]
    assert told(tmp_path / "sqlite") == told(tmp_path / "journal") == told(folder)
    assert {len(trials) for trials in told(folder).values()} == {TRIALS}


@pytest.mark.parametrize("place", ["sqlite", "journal"])
def test_dashboard_shows_studies_and_what_we_note_of_trials(
    small: SmallSuite, tmp_path: Path, place: str
) -> None:
    """The dashboard's own interface lists the study, its trials, values and parameters."""
    dashboard = pytest.importorskip("optuna_dashboard", reason="needs optuna-dashboard")
    folder = tmp_path / "results"
    urls = {"sqlite": default_url(folder), "journal": f"journal:{tmp_path / 'studies.log'}"}
    url = urls[place]
    process = started(small, folder, "--methods", "lora", "--seeds", "1", "--storage", url)
    process.join()
    assert process.exitcode == 0
    ((name, trials),) = told(folder).items()
    app = dashboard.wsgi(connect(url, folder))
    listed = _get(app, "/api/studies")["study_summaries"]
    (number,) = [study["study_id"] for study in listed if study["study_name"] == name]
    study = _get(app, f"/api/studies/{number}")
    assert study["objective_names"] == ["score"]
    shown = study["trials"]
    assert [trial["values"] for trial in shown] == [[score] for *_, score in trials]
    assert {p["name"] for p in shown[0]["params"]} == {"learning_rate", "rank", "dropout"}
    assert "gapbench" in {note["key"] for note in shown[0]["user_attrs"]}


def _get(app: Any, path: str) -> Any:
    """Ask a WSGI application for a page of JSON."""
    statuses: list[str] = []
    environment = {"PATH_INFO": path}
    setup_testing_defaults(environment)
    body = b"".join(app(environment, lambda status, *_: statuses.append(status)))
    assert statuses == ["200 OK"], body
    return json.loads(body)
