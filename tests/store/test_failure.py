"""What failures are called, how often they are tried again, and that the way out works."""

import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import DataError
from gapbench.bench.store import failure
from gapbench.bench.store.failure import cause_of, death_of, left_alone, status_of
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from tests.support.small_suite import CELL, PROCESSES, Answer, SmallSuite, blank, call, make

Capture = pytest.CaptureFixture[str]
RUN = Run(CELL, 0)


@pytest.fixture
def small(tmp_path: Path, make_backbone: Callable[[str], Path]) -> SmallSuite:
    """A suite of two runs of head and two of majority."""
    return make(tmp_path / "small", make_backbone("bert"), methods=["majority", "head"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "out_of_memory",
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "failed"),
        (DataError("no such column"), "failed"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_error_has_a_status(error: Exception, status: str) -> None:
    """What ran out of memory is told apart from all else."""
    assert status_of(error) == status


def test_cause_of_an_own_error_is_its_message_and_of_another_its_place() -> None:
    """Messages that say what to do come without a traceback."""
    assert cause_of(DataError("no such column")) == "no such column"
    with pytest.raises(KeyError) as caught:
        {}["x"]
    assert cause_of(caught.value).startswith("Traceback")
    assert cause_of(caught.value).endswith("KeyError: 'x'")


def failed(detail: str, status: Status = Status.FAILED) -> Record:
    """Return a record of a failure."""
    return blank(RUN, status, detail=detail)


def test_failures_of_one_kind_in_a_row_are_counted() -> None:
    """Sizes and addresses may differ; another error, status or a first one counts as one."""
    first = failed("trace\nRuntimeError: tried 3.5 GiB at 0x7f3a").after(None)
    second = failed("other trace\nRuntimeError: tried 12 GiB at 0x11").after(first)
    assert (first.attempts, second.attempts) == (1, 2)
    assert failed("RuntimeError: else").after(second).attempts == 1
    short = failed("RuntimeError: tried 1 GiB at 0x1", Status.OUT_OF_MEMORY)
    assert short.after(second).attempts == 1


def test_run_is_left_alone_after_two_failures_unless_it_is_named() -> None:
    """What was stopped is always tried again, what is settled is another matter."""
    twice = failed("RuntimeError: x").model_copy(update={"attempts": 2})
    assert left_alone(twice)
    assert left_alone(twice, ["out_of_memory"])
    assert not left_alone(twice, ["failed"])
    assert not left_alone(failed("RuntimeError: x"))
    assert not left_alone(None)
    for status in (Status.INTERRUPTED, Status.OK):
        assert not left_alone(blank(RUN, status, attempts=9))


def run(small: SmallSuite, capsys: Capture, *more: str) -> Answer:
    """Run the suite with JSON as output."""
    return call(capsys, "run", *small.running, *more, "--json")


def test_failure_is_tried_twice_and_then_only_on_request(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite does not repeat for ever what fails for ever, and says how to try it again."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.head.Head.adapt", _fail)
        assert run(small, capsys).json["now"] == {"ok": 2, "failed": 2}
        assert run(small, capsys).json["now"] == {"failed": 2}
        answer = run(small, capsys)
        assert (answer.code, answer.json["now"]) == (3, {})
        assert "2 of them failed 2 times in the same way and are skipped" in answer.err
        planned = call(capsys, "plan", *small.running)
        assert "4 runs, 0 to do, 2 skipped (see gapbench status)" in planned.out
        assert run(small, capsys, "--retry", "out_of_memory").json["now"] == {}
        assert run(small, capsys, "--retry", "failed").json["now"] == {"failed": 2}
    attempts = {r.attempts for r in Store(small.results).records() if isinstance(r, Record)}
    assert attempts == {1, 3}
    answer = run(small, capsys, "--retry=failed,interrupted")
    assert (answer.code, answer.json["now"]) == (0, {"ok": 2})
    assert all(r.attempts == 1 for r in Store(small.results).records() if isinstance(r, Record))


def test_command_that_status_shows_tries_again(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be pasted as it stands, whatever was tried again before, and also after two times."""
    with monkeypatch.context() as patch:
        patch.setattr("gapbench.methods.head.Head.adapt", _fail)
        for more in ((), ("--retry", "interrupted"), ("--methods", "head")):
            run(small, capsys, *more)
    (line,) = (
        line for line in call(capsys, "status", small.results).err.splitlines() if "try" in line
    )
    words = shlex.split(line.removeprefix("  try again: "))
    assert words[0] == "gapbench"
    answer = call(capsys, *words[1:])
    assert (answer.code, answer.json["now"]) == (0, {"ok": 2})
    assert call(capsys, "status", small.results).err == ""


def _fail(*_: object) -> None:
    raise RuntimeError("no such layer")


@pytest.mark.parametrize("value", ["ok", "failed,lost", "", "diverged"])
def test_status_that_cannot_be_tried_again_is_refused(capsys: Capture, value: str) -> None:
    """The message says what can."""
    answer = call(capsys, "run", "quickstart", "--retry", value)
    assert answer.code == 2
    assert ("expected some of failed, out_of_memory, interrupted" in answer.err) == bool(value)


def _exit(code: int) -> None:
    raise SystemExit(code)


def _die(number: int) -> None:
    signal.raise_signal(number)


@pytest.mark.parametrize(
    ("how", "number", "cause"),
    [
        (_exit, 3, "ended with exit code 3"),
        (_die, signal.SIGKILL, "was killed by signal 9 (SIGKILL)"),
        (_die, signal.SIGABRT, "was killed by signal 6 (SIGABRT)"),
    ],
)
def test_dead_process_has_a_cause(how: Callable[..., Any], number: int, cause: str) -> None:
    """It says what ended it."""
    process = PROCESSES.Process(target=how, args=(number,))
    process.start()
    process.join()
    assert death_of(process.exitcode, failure.oom_kills()) == (Status.FAILED, cause)


def test_process_that_the_system_killed_for_memory_is_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill is told from one for memory by the system's own count of these."""
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 5\noom_kill 7\n")
    monkeypatch.setattr(failure, "_VMSTAT", counts)
    assert death_of(-signal.SIGKILL, 7)[0] == Status.FAILED
    assert death_of(-signal.SIGKILL, 6)[0] == Status.OUT_OF_MEMORY
    assert death_of(-signal.SIGSEGV, 6)[0] == Status.FAILED
    counts.unlink()
    assert failure.oom_kills() == 0
