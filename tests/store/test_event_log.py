"""The log file of an invocation: what is in it, what is not, how long it gets and stays."""

import json
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import StoreError
from gapbench.bench.store import event_log
from gapbench.bench.store.event_log import EventLog, events, is_alive, log_files, recorded
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.store.typed_command import typed
from tests.support.small_suite import CELL, PROCESSES, SmallSuite, blank, call, make

Capture = pytest.CaptureFixture[str]
RUNS = [Run(CELL, seed) for seed in range(8)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results folder."""
    return store_at(tmp_path / "results")


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of four runs in two stacks."""
    return make(tmp_path / "small", make_backbone("bert"), methods=["majority", "lora"])


def test_log_of_a_run_tells_of_each_stack(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the command, every stack with its figures, and the totals; and no environment."""
    monkeypatch.setenv("HF_TOKEN", "hf_a_secret_of_the_user")
    assert call(capsys, "run", *small.running).code == 0
    (log,) = log_files(Store(small.results))
    assert log.name == "000001-run.jsonl"
    assert "hf_a_secret_of_the_user" not in log.read_text()
    first, *stacks, last = events(log)
    assert first["event"] == "start"
    assert first["command"] == typed(["run", *small.running])
    assert {"python", "torch", "gapbench"} <= first["versions"].keys()
    assert [event["event"] for event in stacks] == ["stack_started", "stack_finished"] * 2
    by_method = {event["method"]: event for event in stacks}
    lora = by_method["lora"]
    assert lora["statuses"] == {"ok": 2}
    assert lora["worker"] == by_method["majority"]["worker"]
    assert lora["tokens"] > 0
    assert lora["tokens_per_second"] > 0
    assert lora["peak_memory_bytes"] > 2**20
    assert by_method["majority"]["tokens_per_second"] is None
    assert last["event"] == "end"
    assert (last["exit_code"], last["statuses"], last["stacks"]) == (0, {"ok": 4}, 2)
    assert last["tokens"] == lora["tokens"]


def test_log_of_a_failed_and_of_a_stopped_run_has_the_cause(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures are named in the line of their stack, what ended the command in the last one."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.lora.Lora.adapt", _fail)
        assert call(capsys, "run", *small.running).code == 3
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.bench.training.trainer.Trainer.train", _press_ctrl_c)
        assert call(capsys, "run", *small.running).code == 130
    failed, stopped = (list(events(log)) for log in log_files(Store(small.results)))
    (line,) = (event for event in failed if event.get("causes"))
    assert (line["method"], line["statuses"]) == ("lora", {"failed": 2})
    assert line["causes"] == ["RuntimeError: no such layer"]
    assert failed[-1]["exit_code"] == 3
    assert stopped[-2]["stopped"] == "KeyboardInterrupt"
    assert (stopped[-1]["exit_code"], stopped[-1]["stopped"]) == (130, "KeyboardInterrupt")


def _fail(*_: object) -> None:
    raise RuntimeError("no such layer")


def _press_ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/db", "'postgresql://me:***@host/db'"),
        ("mysql+pymysql://me:se:cret@host/db", "'mysql+pymysql://me:***@host/db'"),
        ("postgresql://a@corp:se'c@ret@host/db", "'postgresql://a@corp:***@host/db'"),
        ("me:secret@host", "'me:***@host'"),
        ("postgresql//me:secret@host", "'postgresql//me:***@host'"),
        ("postgresql://me:secret/db", "'postgresql://me:***/db'"),
        ("postgresql://host/db?PASSWD=se'cret", "'postgresql://host/db?PASSWD=***'"),
        ("sqlite+pysqlcipher://:secret@/a.db", "'sqlite+pysqlcipher://:***@/a.db'"),
        ("postgresql://host/db?password=se&a=b", "'postgresql://host/db?password=***&a=b'"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:///a@b:c/studies.db", "sqlite:///a@b:c/studies.db"),
    ],
)
def test_password_of_a_url_is_left_out(url: str, shown: str) -> None:
    """A command line is kept as typed, but for that."""
    assert typed(["tune", "a suite", "--storage", url]).endswith(shown)
    assert "'a suite'" in typed(["tune", "a suite"])
    for word in (url, f"--storage={url}"):
        assert "secret" not in typed([word])
    call = f"gapbench.tune('a:b', {{'x': 1}}, storage={url!r}, backbone='c@d')"
    assert "secret" not in typed(call)
    assert typed(call).startswith("gapbench.tune('a:b', {'x': 1}, storage=")
    assert typed(call).endswith(", backbone='c@d')")


def test_log_of_ten_thousand_stacks_stays_small(store: Store) -> None:
    """A stack takes two lines of less than half a kilobyte each, however long it trains."""
    log = EventLog(store.logs / "000001-run.jsonl", event_log.platform.node())
    for _ in range(1000):
        with log.stack(RUNS) as made:
            made += [blank(run) for run in RUNS]
    lines = log.path.read_bytes().splitlines()
    assert len(lines) == 2000
    assert max(map(len, lines)) < 500
    assert log.path.stat().st_size * 10 < 10 * 2**20


def test_line_that_was_cut_off_is_passed_over(store: Store) -> None:
    """What a full disk or a crash left of a line hides no other."""
    log = EventLog(store.logs / "000001-run.jsonl", event_log.platform.node())
    log.tell("start", command="gapbench run x")
    with log.path.open("a") as file:
        file.write('{"event": "stack_fin\n[]\n7\n\xff\n')
    log.tell("end", exit_code=0)
    assert [event["event"] for event in events(log.path)] == ["start", "end"]


def test_log_that_cannot_be_written_stops_nothing(store: Store) -> None:
    """A log is not worth a run."""
    EventLog(store.logs / "no" / "such" / "folder.jsonl", "here").tell("start")


def test_process_elsewhere_writes_a_file_of_its_own(store: Store) -> None:
    """Lines of two computers do not meet in one file, and are read together."""
    path = store.logs / "000001-run.jsonl"
    EventLog(path, event_log.platform.node()).tell("start")
    EventLog(path, "another.host").tell("stack_started")
    assert len(list(store.logs.iterdir())) == 2
    assert log_files(store) == [path]
    assert [event["event"] for event in events(path)] == ["start", "stack_started"]


def test_old_logs_go_and_those_of_living_invocations_stay(store: Store) -> None:
    """There are at most a hundred; they are told by their numbers, not by their times."""
    for number in range(1, event_log.KEPT + 6):
        (store.logs / f"{number:06}-run.jsonl").write_text('{"event": "start"}\n')
    with event_log.lock(event_log.alive_path(store, store.logs / "000003-run.jsonl")):
        assert recorded(store, "tune", ["tune"], lambda _: 0) == 0
    names = [path.name for path in log_files(store)]
    assert names[0] == "000003-run.jsonl"
    assert names[-1] == f"{event_log.KEPT + 6:06}-tune.jsonl"
    assert len(names) == event_log.KEPT + 1  # the one that lives is one too many


@pytest.mark.parametrize("name", ["notes.jsonl", "1.jsonl", "x-run.jsonl", "9-run copy.jsonl"])
def test_file_of_somebody_else_is_left_alone(store: Store, name: str) -> None:
    """What lies among the logs under another name is neither counted, shown nor removed."""
    (store.logs / name).write_text("mine\n")
    assert recorded(store, "run", ["run"], lambda _: 0) == 0
    assert [path.name for path in log_files(store)] == ["000001-run.jsonl"]
    assert (store.logs / name).read_text() == "mine\n"


@pytest.mark.parametrize("error", [StoreError("full"), PermissionError("no"), KeyboardInterrupt()])
def test_last_line_has_the_code_that_the_command_ends_with(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Whatever ends a command, its log and its exit code agree."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("gapbench.bench.api.training.execute", fail)
    code = call(capsys, "run", *small.running).code
    (log,) = log_files(Store(small.results))
    assert [*events(log)][-1]["exit_code"] == code


def _invoke(root: Path, ready: Barrier) -> None:
    def work(log: EventLog) -> int:
        with log.stack(RUNS):
            ready.wait()
            ready.wait()
        return 0

    recorded(Store(root), "run", ["run", "small"], work)


def test_invocation_is_alive_until_its_process_is_not(store: Store) -> None:
    """A killed one needs no clock to be told from one that works."""
    ready = PROCESSES.Barrier(2)
    process = PROCESSES.Process(target=_invoke, args=(store.root, ready))
    process.start()
    ready.wait()
    (log,) = log_files(store)
    assert is_alive(store, log)
    assert is_alive(store, log)  # looking takes nothing from it
    process.kill()
    process.join()
    assert not is_alive(store, log)
    assert [event["event"] for event in events(log)] == ["start", "stack_started"]


def test_invocations_at_once_have_logs_of_their_own(store: Store) -> None:
    """Two that start together do not write into one file."""
    ready = [PROCESSES.Barrier(2) for _ in range(3)]
    processes = [PROCESSES.Process(target=_invoke, args=(store.root, each)) for each in ready]
    for process, barrier in zip(processes, ready, strict=True):
        process.start()
        barrier.wait()
    assert len({log for log in log_files(store) if is_alive(store, log)}) == 3
    for process, barrier in zip(processes, ready, strict=True):
        barrier.wait()
        process.join()
    assert not any(is_alive(store, log) for log in log_files(store))
    assert [json.loads(log.read_text().splitlines()[-1])["exit_code"] for log in log_files(store)]
    assert not list(store.lock_path("x").parent.glob("log-*"))


def test_statuses_of_a_stack_are_counted(store: Store) -> None:
    """A stack's line counts its runs by status and gives each cause once."""
    log = EventLog(store.logs / "000001-run.jsonl", event_log.platform.node())
    with log.stack(RUNS[:3]) as made:
        made += [blank(run, Status.FAILED, detail="trace\nKeyError: 'x'") for run in RUNS[:2]]
        made.append(blank(RUNS[2]))
    told = list(events(log.path))[-1]
    assert told["statuses"] == {"failed": 2, "ok": 1}
    assert told["causes"] == ["KeyError: 'x'"]
