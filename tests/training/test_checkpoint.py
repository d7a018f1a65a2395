"""Stacks that were stopped in training go on from their checkpoint, and lose at most that."""

import errno
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.training.trainer import Trainer
from tests.support.small_suite import PROCESSES, SmallSuite, call, make, run_command

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
Log = pytest.LogCaptureFixture

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 24
METHODS = [{"method": "lora", "config": {"rank": 2}}, "flexora"]
BUDGET = {"steps": STEPS, "batch_size": 4, "evaluations": 4}


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of two stacks of three runs."""
    backbone = make_backbone("bert")
    return make(tmp_path / "small", backbone, methods=METHODS, budget=BUDGET, seeds=3)


def outcome(results: Path) -> dict[str, Any]:
    """Return every record by its run, without what depends on the clock and the machine."""
    found = {}
    for record in Store(results).records():
        assert isinstance(record, Record)
        content = record.model_dump(exclude={"provenance"})
        for timed in ("train_seconds", "evaluation_seconds", "tokens_per_second"):
            assert content["cost"].pop(timed) > 0
        content["cost"].pop("peak_memory_bytes")
        found[record.run_hash] = content
    return found


def files(results: Path) -> list[Path]:
    """Return all files of checkpoints, whole or not."""
    return sorted((results / "checkpoints").iterdir())


@contextmanager
def at_step(monkeypatch: Patch, step: int, act: Callable[[], object]) -> Iterator[None]:
    """Let something happen inside the step of that number, counted from 1, of every stack."""
    original = Trainer._account

    def account(trainer: Trainer, *given: Any) -> None:
        original(trainer, *given)
        if trainer.state.axis.step + 1 == step:
            act()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_account", account)
        yield


@contextmanager
def counted(monkeypatch: Patch) -> Iterator[list[tuple[int, int]]]:
    """Note the number of runs and the number of every step that is made, counted from 1."""
    seen: list[tuple[int, int]] = []
    original = Trainer._account

    def account(trainer: Trainer, *given: Any) -> None:
        original(trainer, *given)
        seen.append((trainer.state.axis.size, trainer.state.axis.step + 1))

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_account", account)
        yield seen


def terminate() -> None:
    """Ask this process to end, as a scheduler does."""
    signal.raise_signal(signal.SIGTERM)


def stop(
    small: SmallSuite, monkeypatch: Patch, capsys: Capture, step: int = 13, methods: str = "lora"
) -> None:
    """Run the suite up to a step of its first stack, where the process is asked to end."""
    with at_step(monkeypatch, step, terminate):
        assert call(capsys, "run", *small.running, "--methods", methods).code == 130


def test_process_that_is_asked_to_end_saves_the_step_and_goes_on_from_it(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch
) -> None:
    """SIGTERM ends with a checkpoint and runs `interrupted`; the next invocation continues."""
    assert call(capsys, "run", *small.planning, "--results", small.folder / "whole").code == 0
    assert files(small.folder / "whole") == []
    stop(small, monkeypatch, capsys, methods="lora,flexora")
    found = [r for r in Store(small.results).records() if isinstance(r, Record)]
    assert [r.status for r in found] == [Status.INTERRUPTED] * 3
    detail = "the process was asked to end; the training is saved at step 13"
    assert {r.detail for r in found} == {detail}
    assert [path.suffix for path in files(small.results)] == [".safetensors"]
    with counted(monkeypatch) as seen:
        assert call(capsys, "run", *small.running).code == 0
    steps = Counter(step for _, step in seen)
    assert steps == {step: 1 + (step > 13) for step in range(1, STEPS + 1)}
    assert outcome(small.results) == outcome(small.folder / "whole")
    assert files(small.results) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_stack_on_a_gpu_goes_on_from_its_checkpoint(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch
) -> None:
    """What was read from a file is moved to where the stack trains."""
    command = ("run", *small.running, "--methods", "lora", "--device", "cuda")
    with at_step(monkeypatch, 13, terminate):
        assert call(capsys, *command).code == 130
    with counted(monkeypatch) as seen:
        assert call(capsys, *command).code == 0
    assert {step for _, step in seen} == set(range(14, STEPS + 1))


@pytest.mark.slow
def test_process_that_is_killed_goes_on_from_its_last_checkpoint(
    tmp_path: Path, make_backbone: Callable[[str], Path], capsys: Capture
) -> None:
    """However often it is killed, the records are those of an uninterrupted run."""
    budget = BUDGET | {"steps": 120}
    small = make(tmp_path / "small", make_backbone("bert"), methods=METHODS[1:], budget=budget)
    stack = ("--stack", 8)  # given, as another process would measure one by a busy clock
    whole = small.folder / "whole"
    assert call(capsys, "run", *small.planning, "--results", whole, *stack).code == 0
    command = ("run", *small.running, "--checkpoint-minutes", "0.0005", *stack)
    kills = 0
    for _ in range(3):
        before = written(small.results)
        process = PROCESSES.Process(target=run_command, args=(tmp_path / "out", *command))
        process.start()
        while process.is_alive() and written(small.results) in (before, {}):
            time.sleep(0.005)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills
    assert call(capsys, *command).code == 0
    assert outcome(small.results) == outcome(whole)
    assert files(small.results) == []


def written(results: Path) -> dict[Path, int]:
    """Return when each whole checkpoint of a folder was written."""
    found = (results / "checkpoints").glob("*.safetensors")
    return {path: path.stat().st_mtime_ns for path in found}


def test_checkpoint_that_is_cut_off_costs_no_more_than_itself(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch, caplog: Log
) -> None:
    """Truncated anywhere, it is named, deleted, and its runs begin afresh."""
    stop(small, monkeypatch, capsys, 3)
    (path,) = files(small.results)
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        caplog.clear()
        with counted(monkeypatch) as seen, at_step(monkeypatch, 2, terminate):
            assert call(capsys, "run", *small.running, "--methods", "lora").code == 130
        assert seen == [(3, 1), (3, 2)], length
        (line,) = caplog.messages
        assert line.startswith(f"{path}: not a whole checkpoint (")
        assert line.endswith("); starting from scratch")


@pytest.mark.parametrize("changed", ["code_hash", "versions", "device_type"])
def test_checkpoint_of_other_code_or_device_is_left_alone(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch, caplog: Log, changed: str
) -> None:
    """What made it is compared with what runs here; the log names the difference."""
    stop(small, monkeypatch, capsys, 3)
    (path,) = files(small.results)
    field = f'\\"{changed}\\": '.encode()
    content = path.read_bytes()
    assert content.count(field) == 1
    path.write_bytes(content.replace(field, field.swapcase()))
    with counted(monkeypatch) as seen, at_step(monkeypatch, 2, terminate):
        assert call(capsys, "run", *small.running, "--methods", "lora").code == 130
    assert seen == [(3, 1), (3, 2)]
    assert f"{path}: made elsewhere: {changed} is None, here " in caplog.text


def test_checkpoint_that_does_not_fit_its_method_is_not_used(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch, caplog: Log
) -> None:
    """Whatever restoring raises, as with a changed method of another package, starts afresh."""
    stop(small, monkeypatch, capsys, 3)
    with monkeypatch.context() as patch, counted(monkeypatch) as seen:
        patch.setattr(Trainer, "restore", refuse)
        assert call(capsys, "run", *small.running, "--methods", "lora").code == 0
    assert seen[0] == (3, 1)
    assert "cannot be used: 'sums'; starting from scratch" in caplog.text


def refuse(*_: object) -> None:
    """Fail as a method does that looks for a tensor of its own."""
    raise KeyError("sums")


def test_full_disk_costs_the_checkpoint_and_not_the_runs(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch, caplog: Log
) -> None:
    """Where a checkpoint cannot be written, training goes on and says so."""

    def full(_tensors: object, path: Path, _header: object) -> None:
        Path(path).write_bytes(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gapbench.bench.training.checkpoint.save_file", full)
    command = ("run", *small.running, "--methods", "lora", "--checkpoint-minutes", "1e-9")
    assert call(capsys, *command).code == 0
    assert "No space left on device; training continues without it" in caplog.text
    assert files(small.results) == []


def test_runs_of_a_checkpoint_go_on_without_those_that_are_settled_or_unwanted(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch
) -> None:
    """Any part of a saved stack goes on; the checkpoint goes with the last of its runs."""
    assert call(capsys, "run", *small.planning, "--results", small.folder / "whole").code == 0
    stop(small, monkeypatch, capsys)
    lora = ("run", *small.running, "--methods", "lora")
    with counted(monkeypatch) as seen:
        assert call(capsys, *lora, "--seeds", "2").code == 0
    assert seen == [(2, step) for step in range(14, STEPS + 1)]
    assert len(files(small.results)) == 1
    with counted(monkeypatch) as seen:
        assert call(capsys, *lora, "--seeds", "4").code == 0
    assert seen == [
        *((1, step) for step in range(14, STEPS + 1)),
        *((1, step) for step in range(1, STEPS + 1)),
    ]
    assert files(small.results) == []
    ours, whole = outcome(small.results), outcome(small.folder / "whole")
    for run in ours.keys() & whole.keys():
        scores = [each[run]["splits"]["test"]["loss"] for each in (ours, whole)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert len(ours.keys() & whole.keys()) == 3


def test_halves_of_a_stack_that_does_not_fit_go_on_from_its_checkpoint(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch
) -> None:
    """Out of memory in a second sitting loses nothing of the first."""
    stop(small, monkeypatch, capsys)
    original = Trainer._step

    def limited(trainer: Trainer, *given: Any) -> Any:
        if trainer.state.axis.size > 2:
            raise torch.OutOfMemoryError("no memory left")
        return original(trainer, *given)

    monkeypatch.setattr(Trainer, "_step", limited)
    with counted(monkeypatch) as seen:
        assert call(capsys, "run", *small.running, "--methods", "lora").code == 0
    assert {step for _, step in seen} == set(range(14, STEPS + 1))
    assert {runs for runs, _ in seen} == {1, 2}
    assert files(small.results) == []


def test_checkpoint_of_runs_that_were_settled_by_a_killed_process_is_deleted(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch
) -> None:
    """Killed between its last record and the end, a process leaves a file that the next deletes."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.bench.training.checkpoint.Checkpoints.clear", lambda *_: None)
        command = ("run", *small.running, "--methods", "lora", "--checkpoint-minutes", "1e-9")
        assert call(capsys, *command).code == 0
    assert len(files(small.results)) == 1
    assert call(capsys, *command).code == 0
    assert files(small.results) == []


def test_seconds_of_both_sittings_are_counted(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch
) -> None:
    """What was spent up to the checkpoint stays in the cost of the runs."""
    stop(small, monkeypatch, capsys)
    seconds: list[float] = []

    def note(trainer: Trainer, *given: Any) -> None:
        original(trainer, *given)
        seconds.append(trainer.stopwatch.spent("train", 0))

    original = Trainer.restore
    monkeypatch.setattr(Trainer, "restore", note)
    assert call(capsys, "run", *small.running, "--methods", "lora").code == 0
    assert seconds[0] > 0
    records = [r for r in Store(small.results).records() if isinstance(r, Record)]
    assert all(r.cost is not None and r.cost.train_seconds > seconds[0] for r in records)


def test_going_on_is_logged(
    small: SmallSuite, capsys: Capture, monkeypatch: Patch, caplog: Log
) -> None:
    """The log says from which file and step a stack goes on."""
    stop(small, monkeypatch, capsys)
    (path,) = files(small.results)
    with caplog.at_level(logging.INFO, "gapbench.bench.execution.stack_executor"):
        assert call(capsys, "run", *small.running, "--methods", "lora").code == 0
    assert f"{path}: continuing from step 13" in caplog.text


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf"])
def test_interval_between_checkpoints_is_a_number_above_zero(
    given: str, small: SmallSuite, capsys: Capture
) -> None:
    """Anything else is a usage error that says so."""
    answer = call(capsys, "run", *small.running, f"--checkpoint-minutes={given}")
    assert answer.code == 2
    assert f"got {given!r}, expected a number of minutes above 0" in answer.err
