"""How the command line chooses an engine and a time, and what it says where it cannot."""

import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from gapbench.bench.execution import engines
from gapbench.bench.execution.work_queue import Job, WorkQueue
from tests.support.small_suite import SmallSuite, call, make

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of 6 runs."""
    return make(tmp_path / "small", make_backbone("bert"))


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_missing_extra_is_an_error_with_the_command_that_brings_it(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, engine: str, package: str
) -> None:
    """Before anything is written, it says which package is missing and how to install it."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"gapbench.bench.execution.engines.{engine}", raising=False)
    answer = call(capsys, "run", *small.running, "--engine", engine)
    assert answer.code == 2
    assert answer.err == (
        f"gapbench: error: --engine {engine}: the package {package!r} is not installed; "
        f"install it with: pip install 'gapbench[{engine}]'\n"
    )
    assert not small.results.exists()


def test_every_engine_of_the_command_line_has_its_file() -> None:
    """No engine is offered that nothing stands behind."""
    assert {"local", "ray", "slurm"} <= {*engines.names()}
    for name in engines.names():
        found = engines.find(name)
        assert isinstance(found.HERE, bool)
        assert isinstance(found.WHEN, str)
        assert all(map(callable, (found.work, found.beside, found.suitable_workers)))


def test_planning_and_handing_out_load_no_modelling_code() -> None:
    """What holds claims and sends stacks stays small: only who trains builds models.

    One process loads all engines that are installed, one after the other.
    """
    needs = {"ray": "ray", "slurm": "submitit"}
    installed = [n for n in engines.names() if n not in needs or find_spec(needs[n])]
    code = (
        "import sys; from gapbench.bench.adaptation import registry; "
        "from gapbench.bench.execution import scheduler; from importlib import import_module; "
        "registry.discover(); heavy = ('transformers.modeling_utils', 'torch._dynamo')\n"
        f"for name in {installed}:\n"
        "    import_module(f'gapbench.bench.execution.engines.{name}')\n"
        "    print(name, [each for each in heavy if each in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == [f"{name} []" for name in installed]


def test_slurm_where_no_job_can_be_sent_says_so(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A computer without Slurm's commands gets an error with the way out."""
    pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
    monkeypatch.setenv("PATH", "")
    answer = call(capsys, "run", *small.running, "--engine", "slurm")
    assert answer.code == 2
    assert "--engine slurm: no job could be sent: " in answer.err
    assert "use --engine local" in answer.err


def test_time_that_is_over_leaves_runs_for_the_next_command(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is not begun; the exit code and a line say so, and the rest is done."""
    with monkeypatch.context() as patch:
        real, ended = time.monotonic, list[Job]()
        end = WorkQueue.end
        patch.setattr(
            WorkQueue, "end", lambda queue, *told: (ended.append(told[0]), end(queue, *told))
        )
        patch.setattr(time, "monotonic", lambda: real() + 25 * len(ended))
        answer = call(
            capsys, "run", *small.running, "--stack", "1", "--time-budget", "1m", "--json"
        )
    assert answer.code == 130
    done, left = answer.json["now"]["ok"], answer.json["left"]
    assert done > 0
    assert left > 0
    assert done + left == 6
    assert f"{left} runs are left, about " in answer.err
    answer = call(capsys, "run", *small.running, "--json")
    assert (answer.code, answer.json["now"]) == (0, {"ok": left})


def test_plan_tells_the_time_of_one_worker_and_of_several(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More workers take less time; what is guessed, as time for measuring was over, is said."""
    assert call(capsys, "run", *small.running, "--seeds", "1", "--methods", "head").code == 0
    monkeypatch.setattr("gapbench.bench.execution.calibration.LONGEST_S", 0.0)
    answer = call(capsys, "plan", *small.running, "--seeds", "40", "--workers", "3")
    line = answer.err.splitlines()[-1]
    assert " with 1, " in line
    assert " with 3 workers; 80 of the runs are guessed from what others take" in line
