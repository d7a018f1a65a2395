"""Cost accounting: operations against hand counts, time shared by runs, memory peaks."""

import platform
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gapbench.bench.core.memory import MemoryPeak, available
from gapbench.bench.core.process import prepare, take_gpu
from gapbench.bench.models import attention
from gapbench.bench.training.flops_and_time import FlopEstimate, Stopwatch, work
from tests.support.counting import counting
from tests.support.small_stack import CPU, MakeBackbone, make_runs, random_data, train


@pytest.fixture(autouse=True)
def _counting() -> Iterator[None]:
    """Count the operations of steps."""
    with counting():
        yield


def test_three_counted_widths_give_the_cost_of_a_fourth() -> None:
    """Constant, linear and quadratic parts of a step are told apart exactly."""
    width = 6
    estimate = FlopEstimate()
    for tokens in (4, 10, 5):
        step = {"train": work(3, tokens)}
        assert estimate.wants(step)
        x = torch.randn(3, tokens, width)
        with estimate.count(step, 1):
            scores = x @ x.transpose(1, 2)  # 2 * width * tokens^2 an example
            _ = x.reshape(-1, width) @ torch.randn(width, width)  # 2 * width^2 * tokens
            _ = x[:, 0] @ torch.randn(width, 2)  # 2 * width * 2, once an example
        assert scores.shape == (3, tokens, tokens)
    assert not estimate.wants({"train": work(3, 7)})
    expected = 5 * (2 * width * 7**2 + 2 * width**2 * 7 + 4 * width)
    assert estimate.total({"train": work(5, 7)}) == pytest.approx(expected)


def test_parts_of_a_step_are_charged_by_their_own_widths() -> None:
    """Two batches of different widths in one step, one with twice the cost, are told apart."""
    estimate = FlopEstimate()
    weight = torch.randn(6, 6)
    for inner, outer in ((4, 9), (10, 5), (5, 12), (7, 4), (3, 8), (11, 6)):
        step = {"inner": work(3, inner), "outer": work(3, outer)}
        with estimate.count(step, 1):
            for tokens, passes in ((inner, 2), (outer, 1)):
                for _ in range(passes):
                    _ = torch.randn(3 * tokens, 6) @ weight  # 72 a token
    done = {"inner": work(5, 20) + work(5, 30), "outer": work(5, 40)}
    assert estimate.total(done) == pytest.approx(5 * 72 * (2 * (20 + 30) + 40))
    assert estimate.total({"inner": work(5, 20)}) == pytest.approx(5 * 72 * 2 * 20)


def test_fused_attention_is_counted_like_plain_attention(
    make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run costs does not hang on the kernel, nor on a method's need of the weights."""
    folder, data = make_backbone("bert"), random_data()
    totals = []
    for name, few in (("dropkey", 0), ("dropkey", 1000), ("dropattention", 0)):
        monkeypatch.setattr(attention, "_FEW", few)
        trainer = train(folder, make_runs(name, (0,), steps=12), data, scored=False).trainer
        totals.append(trainer.flops.total(trainer.traces[0].work))
    fused, plain, with_weights = totals
    assert plain == with_weights
    # The fused kernel also makes the gradient of the first layer's keys, which nothing needs.
    assert 1 < fused / plain < 1.02


@pytest.mark.parametrize("name", ["bilora", "bidora", "dora", "adalora"])
def test_work_that_no_example_causes_is_charged_by_the_step(
    name: str, make_backbone: MakeBackbone
) -> None:
    """Penalties and norms cost the same alone and in a stack, partial batches included."""
    folder, data = make_backbone("bert"), random_data(train=204)
    runs = make_runs(name, (0, 1, 2), steps=30)
    stacked = train(folder, runs, data, scored=False).trainer
    solo = train(folder, runs[:1], data, scored=False).trainer
    totals = [t.flops.total(t.traces[0].work) for t in (stacked, solo)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("lora", {}),
        ("bilora", {"estimator": "t1t2", "upper_every": 2}),
        ("bilora", {"estimator": "unrolled", "upper_every": 3}),
        ("flexora", {"estimator": "unrolled", "upper_every": 3}),
    ],
)
def test_estimate_is_what_counting_every_step_gives(
    name: str, config: dict[str, Any], make_backbone: MakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few counted steps stand for all, those included that do more than others."""
    folder, data = make_backbone("bert"), random_data(train=160)
    runs = make_runs(name, (0,), configs=[config], steps=24)
    trainer = train(folder, runs, data, scored=False).trainer
    estimate = trainer.flops.total(trainer.traces[0].work)
    monkeypatch.setattr(FlopEstimate, "wants", lambda *_: True)
    every = train(folder, runs, data, scored=False).trainer.flops.counted
    assert len(every) == 24 > len(trainer.flops.counted)
    assert estimate == pytest.approx(sum(count for _, count in every), rel=1e-3)


def test_memory_that_a_gpu_keeps_of_gone_tensors_is_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The allocator hands it to the next stack: 50 of 80 bytes kept are in use."""
    given = {"mem_get_info": (20, 100), "memory_reserved": 80, "memory_allocated": 50}
    for name, value in given.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    assert available(torch.device("cuda")) == 50


def test_workers_take_the_gpus_of_a_computer_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers on two GPUs: first, second, first; on a CPU there is none to take."""
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for slot in range(3):
        take_gpu(torch.device("cuda"), slot)
    take_gpu(CPU, 3)
    assert taken == [0, 1, 0]


def test_nothing_counted_costs_nothing() -> None:
    """A method without training steps has no training operations."""
    assert FlopEstimate().total({}) == 0


def test_training_operations_do_not_depend_on_the_stack(make_backbone: MakeBackbone) -> None:
    """A run is charged the same alone and beside others, once widths of all sizes have been."""
    folder, data = make_backbone("bert"), random_data(train=400)
    runs = make_runs("lora", (0, 1, 2), steps=50)
    stacked = train(folder, runs, data, scored=False).trainer
    for index, run in enumerate(runs):
        solo = train(folder, [run], data, scored=False).trainer
        totals = [
            t.flops.total(trace.work)
            for t, trace in ((stacked, stacked.traces[index]), (solo, solo.traces[0]))
        ]
        assert totals[0] == pytest.approx(totals[1], rel=1e-9)


def test_lora_training_costs_about_two_thirds_of_full(make_backbone: MakeBackbone) -> None:
    """Frozen weights need no weight gradients: two matrix products a layer instead of three."""
    folder, data = make_backbone("bert"), random_data()
    totals = {}
    for name in ("lora", "full"):
        trainer = train(folder, make_runs(name, (0,), steps=6), data, scored=False).trainer
        trace = trainer.traces[0]
        totals[name] = trainer.flops.total(trace.work)
    assert 0.5 < totals["lora"] / totals["full"] < 1.0


def test_stopwatch_shares_time_among_the_active_runs() -> None:
    """Each active run is charged an equal part, the others nothing."""
    watch = Stopwatch(3, CPU)
    with watch.measure("train", (0, 2)):
        sum(range(10_000))
    assert watch.spent("train", 0) == watch.spent("train", 2) > 0
    assert watch.spent("train", 1) == 0
    assert watch.spent("evaluation", 0) == 0


class Mark:
    """A mark in the queue of a GPU that takes two seconds between any two marks."""

    made = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.at = -1

    def record(self) -> None:
        """Stand in the queue."""
        Mark.made += 1
        self.at = Mark.made

    def synchronize(self) -> None:
        """Wait until the queue is here."""

    def elapsed_time(self, later: "Mark") -> float:
        """Return milliseconds."""
        return 2000.0 * (later.at - self.at)


def test_stopwatch_of_a_gpu_reads_marks_of_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are those between marks, however many wait to be read."""
    monkeypatch.setattr(torch.cuda, "Event", Mark)
    watch = Stopwatch(2, torch.device("cuda"))
    for _ in range(1500):
        with watch.measure("train", (0, 1)):
            pass
    with watch.measure("evaluation", (1,)):
        pass
    assert watch.spent("train", 0) == watch.spent("train", 1) == 1500.0
    assert (watch.spent("evaluation", 0), watch.spent("evaluation", 1)) == (0.0, 2.0)
    later = Stopwatch(2, torch.device("cuda"))
    later.seconds = watch.seconds
    assert later.spent("train", 1) == 1500.0


def test_memory_peak_sees_an_allocation_that_is_gone() -> None:
    """The peak holds what was allocated in between, also after it was freed."""
    peak = MemoryPeak(CPU)
    before = peak.bytes()
    block = torch.ones(64 * 2**20 // 4)
    del block
    assert peak.bytes() - before > 48 * 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_memory_peak_is_not_that_of_what_was_here_before() -> None:
    """Memory that is freed and kept is given back before a peak is measured."""
    prepare()
    tensors = [torch.zeros(2**18) for _ in range(200)]  # 1 MiB each
    high = MemoryPeak(CPU).bytes()
    del tensors
    assert MemoryPeak(CPU).bytes() < high - 100 * 2**20
