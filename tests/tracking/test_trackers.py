"""Each tracker gets what the records hold: written by its real package, read from its own store."""

import json
import math
import os
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

import gapbench
from gapbench.bench import tracking
from gapbench.bench.core.errors import TrackerError
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.tracking.base import TrackedRun, tracked
from tests.support import results_folder as made

pytestmark = pytest.mark.filterwarnings("ignore")  # of packages that are not ours
EXPECTED = {"mlflow", "tensorboard", "trackio", "wandb"}


@dataclass
class Read:
    """What a tracker shows of one run."""

    settings: Mapping[str, str]
    curve: list[tuple[int, float]]
    final: Mapping[str, float]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder of four finished runs, one that diverged, one skipped and one failed."""
    store = made.fill(tmp_path / "results", methods=("head", "lora"), seeds=2, tasks=(TASK,))
    for seed, status in enumerate((Status.DIVERGED, Status.SKIPPED, Status.FAILED)):
        store.write(made.make_record(made.make_cell("full", task=TASK), seed, status=status))
    return store.root


@pytest.fixture(params=tracking.names())
def tracker(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, Callable[[Path], dict[str, Read]]]:
    """Return a tracker's name, and what reads its store: runs by hash."""
    name = request.param
    package = pytest.importorskip(name, reason=f"the extra `{name}` is not installed")
    monkeypatch.chdir(tmp_path)
    if name == "wandb":
        for variable, value in {"MODE": "offline", "DIR": str(tmp_path), "PROJECT": "ours"}.items():
            monkeypatch.setenv(f"WANDB_{variable}", value)
        package.teardown()
    elif name == "mlflow":
        # Making its tables takes it ten seconds, so all tests share a database.
        database = tmp_path_factory.getbasetemp() / "mlflow.db"
        package.set_tracking_uri(f"sqlite:///{database}")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    elif name == "trackio":
        for module in ("utils", "sqlite_storage"):
            __import__(f"trackio.{module}")
            monkeypatch.setattr(f"trackio.{module}.TRACKIO_DIR", tmp_path / "trackio")
    return name, READERS[name]


TASK = made.make_task()


def test_trackers_are_the_files_of_their_folder() -> None:
    """A new file is a new tracker."""
    assert set(tracking.names()) == EXPECTED


def test_tracker_gets_settings_curves_and_scores(
    tracker: tuple[str, Callable[[Path], dict[str, Read]]], results: Path
) -> None:
    """One tracked run for each finished run, with the numbers of its record."""
    name, read = tracker
    records = [item for item in Store(results).records() if isinstance(item, Record)]
    answer = gapbench.track(results, to=name, progress=False)
    assert (answer.sent, answer.before) == (5, 0)
    runs = read(results)
    finished = {r.run_hash: r for r in records if r.status in {Status.OK, Status.DIVERGED}}
    assert runs.keys() == finished.keys()
    for run_hash, record in finished.items():
        settings, final = runs[run_hash].settings, runs[run_hash].final
        assert settings["method"] == record.cell.method
        assert settings["status"] == record.status.value
        assert json.loads(settings["config.rank"]) == 8
        assert json.loads(settings["training.learning_rate"]) == 5e-4
        assert Path(settings["record"].removeprefix("file://")) == Store(results).record_path(
            record.run
        )
        curve = [(point.step, point.validation_loss) for point in record.curve]
        assert [step for step, _ in runs[run_hash].curve] == [step for step, _ in curve]
        for (_, shown), (_, stored) in zip(runs[run_hash].curve, curve, strict=True):
            assert math.isclose(shown, stored, rel_tol=1e-6)
        if record.status == Status.OK:
            wanted = {
                "final/test/accuracy": record.score("test"),
                "gap/loss": record.loss_gap,
                "calibration/ece": record.calibration and record.calibration.ece,
                "cost/train_tokens": record.cost and record.cost.train_tokens,
                "checkpoint/step": 160,
            }
            for metric, value in wanted.items():
                assert value is not None
                assert math.isclose(final[metric], value, rel_tol=1e-6), metric


def test_sending_again_sends_what_is_new(
    tracker: tuple[str, Callable[[Path], dict[str, Read]]], results: Path
) -> None:
    """Nothing comes twice."""
    name, read = tracker
    gapbench.track(results, to=name, progress=False)
    made.put(Store(results), made.make_record(made.make_cell("lora", task=TASK), 2))
    answer = gapbench.track(results, to=name, progress=False)
    assert (answer.sent, answer.before) == (1, 5)
    runs = read(results)
    assert len(runs) == 6
    assert all(len(run.curve) in {0, len(made.STEPS)} for run in runs.values())


# The sender is killed when the tracker has got the first point of the second run.
KILLED = """
import os, signal, sys, time
import gapbench
from gapbench.bench.tracking.base import TrackedRun

whole, runs = TrackedRun.points.fget, []

def points(run):
    runs.append(run)
    for point in whole(run):
        yield point
        if len(runs) == 2:
            time.sleep(float(sys.argv[3]))
            os.kill(os.getpid(), signal.SIGKILL)

TrackedRun.points = property(points)
gapbench.track(sys.argv[1], to=sys.argv[2], progress=False)
"""


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "failed"])
def test_run_whose_sender_ended_inside_it_is_sent_again(
    kill: bool,
    tracker: tuple[str, Callable[[Path], dict[str, Read]]],
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Runs that were sent whole are not sent again."""
    name, read = tracker
    if kill:
        variables = {"TRACKIO_DIR": str(results.parent / "trackio")}
        if name == "mlflow":
            variables["MLFLOW_TRACKING_URI"] = sys.modules[name].get_tracking_uri()
        pause = "2" if name == "trackio" else "0"  # it writes what it has got twice a second
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(results), name, pause],
            env=os.environ | variables,
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL
    else:
        _fail_inside_the_second_run(monkeypatch, results, name)
    answer = gapbench.track(results, to=name, progress=False)
    assert (answer.sent, answer.before) == (4, 1)
    runs = read(results)
    assert len(runs) == 5
    for item in Store(results).records():
        if isinstance(item, Record) and item.run_hash in runs:
            assert [step for step, _ in runs[item.run_hash].curve] == [p.step for p in item.curve]
            assert "cost/train_seconds" in runs[item.run_hash].final or item.cost is None
    again = gapbench.track(results, to=name, progress=False)
    assert (again.sent, again.before) == (0, 5)


def _fail_inside_the_second_run(monkeypatch: pytest.MonkeyPatch, results: Path, name: str) -> None:
    whole, runs = TrackedRun.points.fget, []
    assert whole is not None

    def points(run: TrackedRun) -> Iterator[tuple[int, Mapping[str, float]]]:
        runs.append(run)
        for point in whole(run):
            yield point
            if len(runs) == 2:
                raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(TrackedRun, "points", property(points))
        with pytest.raises(TrackerError, match="gone"):
            gapbench.track(results, to=name, progress=False)


def test_wandb_returns_once_its_own_process_has_written_the_run(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load the end of a file comes after `finish`; without it the run would be sent twice."""
    package = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    from gapbench.bench.tracking import _wandb_offline

    for variable, value in {"MODE": "offline", "DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{variable}", value)
    package.teardown()
    store = Store(results)
    record = next(item for item in store.records() if isinstance(item, Record))
    run = tracked(store, record, [])
    assert run is not None
    assert tracking.find("wandb")(run, results)
    (path,) = tmp_path.rglob("run-*.wandb")
    content = path.read_bytes()
    path.write_bytes(content[:7])  # what the file begins with
    late = Timer(0.3, path.write_bytes, [content])
    late.start()
    _wandb_offline.wait_until_whole(path.parent, run)
    assert path.read_bytes() == content
    late.join()
    path.write_bytes(content[:7])
    monkeypatch.setattr(_wandb_offline, "_MOST_S", 0.1)
    with pytest.raises(TimeoutError, match=path.parent.name):
        _wandb_offline.wait_until_whole(path.parent, run)


def _of_tensorboard(results: Path) -> dict[str, Read]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = {}
    for path in (results / "tensorboard").rglob("events.*"):
        events = EventAccumulator(str(path.parent))
        events.Reload()
        assert "settings" in events.Tags()["tensors"][0]
        (content,) = (
            HParamsPluginData.FromString(data)
            for data in events.summary_metadata[
                "_hparams_/session_start_info"
            ].plugin_data.content.split(b"\0never\0")
        )
        settings = {k: v.string_value for k, v in content.session_start_info.hparams.items()}
        scalars = {
            tag: [(each.step, each.value) for each in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        found[settings["run_hash"]] = _read(settings, scalars)
    return found


def _of_mlflow(results: Path) -> dict[str, Read]:
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(results.parent.name)
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        scalars = {
            name: [
                (each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
        }
        status = {"ok": "FINISHED"}.get(run.data.params["status"], "FAILED")
        assert run.info.status == status
        found[run.data.params["run_hash"]] = _read(run.data.params, scalars)
    return found


def _of_trackio(results: Path) -> dict[str, Read]:
    (path,) = (results.parent / "trackio").glob("gapbench*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step")
        logged: dict[str, dict[str, list[tuple[int, float]]]] = {}
        for name, step, metrics in rows:
            for metric, value in json.loads(metrics).items():
                logged.setdefault(name, {}).setdefault(metric, []).append((step, value))
        configs = dict(database.execute("select run_name, config from configs"))
    return {
        name.split()[-1]: _read(_flat(json.loads(configs[name])), logged.get(name, {}))
        for name in configs
    }


def _of_wandb(results: Path) -> dict[str, Read]:
    from wandb.proto.wandb_internal_pb2 import Record as Event

    found = {}
    for path in results.parent.rglob("run-*.wandb"):
        scalars: dict[str, list[tuple[int, float]]] = {}
        settings: dict[str, Any] = {}
        run_id = ""
        for event in map(Event.FromString, _logged(path.read_bytes())):
            if event.HasField("run"):
                run_id = event.run.run_id
                assert event.run.project == "ours"
                settings = {e.key: json.loads(e.value_json) for e in event.run.config.update}
            elif event.HasField("history"):
                step = event.history.step.num
                for item in event.history.item:
                    name = item.key or item.nested_key[0]
                    if not name.startswith("_"):
                        scalars.setdefault(name, []).append((step, json.loads(item.value_json)))
        found[run_id] = _read(_flat(settings), scalars)
    return found


def _logged(content: bytes) -> Iterator[bytes]:
    """Yield what a log of LevelDB's form holds: W&B's format, which starts with 7 other bytes."""
    entry, place = b"", 7
    while place + 7 <= len(content):
        room = 32768 - place % 32768
        if room < 7:  # a header never goes over the edge of a block
            place += room
            continue
        size, kind = struct.unpack_from("<HB", content, place + 4)
        entry += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in {1, 4}:  # whole, or the last part
            yield entry
            entry = b""


def _read(settings: Mapping[str, str], scalars: Mapping[str, list[tuple[int, float]]]) -> Read:
    final = {name: values[-1][1] for name, values in scalars.items()}
    return Read(settings, sorted(scalars.get("validation/loss", [])), final)


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return found


READERS = {
    "mlflow": _of_mlflow,
    "tensorboard": _of_tensorboard,
    "trackio": _of_trackio,
    "wandb": _of_wandb,
}
