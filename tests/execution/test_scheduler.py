"""How runs are grouped into stacks and spread over processes; Ctrl-C always stops the work."""

import os
import signal
import subprocess

import pytest
import torch

from gapbench.bench.core import signals
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.engines.local import suitable_workers
from gapbench.bench.execution.scheduler import rounds, stacks
from gapbench.bench.execution.work_queue import Job
from tests.support.small_stack import CPU, make_runs


def test_interrupt_that_a_destructor_swallows_is_raised_at_the_next_progress() -> None:
    """Python drops an exception inside `__del__`; the work stops all the same, and quietly."""
    seen: list[float] = []

    class Struck:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(1000))  # gives the handler a place to run

    def work() -> None:
        with signals.interruptible(lambda: None) as check:
            check()
            seen.append(1.0)
            struck = Struck()
            del struck
            check()
            seen.append(2.0)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == [1.0]


def test_second_signal_of_one_interrupt_does_not_strike() -> None:
    """A worker gets one from the terminal and one from its parent, and records its runs once."""
    with signals.interruptible(lambda: None, once=True) as check:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()


def test_signals_in_quick_succession_do_not_wait_for_each_other() -> None:
    """One that strikes while another is handled finds nothing locked."""
    line = f"read; for i in $(seq 20000); do kill -INT {os.getpid()}; done"
    sender = subprocess.Popen(["/bin/bash", "-c", line], stdin=subprocess.PIPE)
    with signals.interruptible(lambda: None, once=True):
        with pytest.raises(KeyboardInterrupt):
            sender.communicate()  # whereupon it begins
        sender.wait()


def test_handler_of_interrupts_is_put_back() -> None:
    """Outside the work, Ctrl-C means what it meant before."""
    before = signal.getsignal(signal.SIGINT)
    with signals.interruptible(lambda: None):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_rounds_give_every_cell_its_first_seed_before_any_has_two() -> None:
    """Of seven seeds, rounds have one, one, two and three, whatever order they come in."""
    runs = [
        run for seed in range(7) for name in ("lora", "head") for run in make_runs(name, [seed])
    ]
    parts = rounds(runs, {})
    assert [sorted({run.seed for run in part}) for part in parts] == [[0], [1], [2, 3], [4, 5, 6]]
    assert all({run.cell.method for run in part} == {"lora", "head"} for part in parts)
    assert sorted(map(str, runs)) == sorted(str(run) for part in parts for run in part)
    lora = next(run.cell for run in runs if run.cell.method == "lora")
    later = rounds([run for run in runs if run.cell != lora or run.seed >= 2], {lora.hash: 2})
    assert {str(run) for run in later[0]} == {str(run) for run in parts[0]} - {str(runs[0])}


def test_runs_share_a_stack_only_where_they_may() -> None:
    """Ranks, rates and optimiser settings may differ; targets, steps and method may not."""
    together = make_runs(
        "lora",
        range(4),
        configs=[{"rank": 2}, {"rank": 4, "dropout": 0.1}],
        trainings=[{"learning_rate": 0.1}, {"weight_decay": 0.2}],
    )
    assert [len(stack) for stack in stacks(together, 16)] == [4]
    assert [len(stack) for stack in stacks(together, 3)] == [3, 1]
    apart = make_runs("lora", (0, 1), configs=[{}, {"targets": "all-linear"}])
    apart += make_runs("lora", (0,), steps=7) + make_runs("head", (0,))
    assert [len(stack) for stack in stacks(apart, 16)] == [1, 1, 1, 1]
    assert [len(stack) for stack in stacks(make_runs("full", (0, 1)), 16)] == [1, 1]


def test_small_backbones_get_a_process_a_core_if_there_is_work_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight stacks are worth two processes, seven are not; a large backbone gets one."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    sources = Sources()
    tiny = sources.backbone("tiny-encoder")
    (run,) = make_runs("head", (0,))
    cell = run.cell.model_copy(update={"backbone": tiny})
    todo = [Job([type(run)(cell, seed)]) for seed in range(8)]
    assert suitable_workers(todo, sources, CPU) == 2
    assert suitable_workers(todo[:7], sources, CPU) == 1
    monkeypatch.setattr(Sources, "weight_bytes", lambda *_: 1e9)
    assert suitable_workers(todo, sources, CPU) == 1
