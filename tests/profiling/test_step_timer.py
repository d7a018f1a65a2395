"""What is measured of steps is what was done, and what was measured is remembered."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gapbench.bench.config.run import Run
from gapbench.bench.profiling import (
    auto_precision,
    measurement_cache,
    random_models,
    step_timer,
)
from gapbench.bench.profiling.auto_precision import choose, gain
from gapbench.bench.profiling.step_timer import Stepper, ceiling, operations, timed
from tests.support.small_stack import CPU
from tests.support.small_suite import call


def test_operations_of_a_step_are_those_of_its_products() -> None:
    """Frozen layers take 4 operations a weight and token, forward and backward to their input."""
    backbone = random_models.draw("minilm-l6", "fp32")
    cell = random_models.cell("lora", backbone, examples=2, tokens=8, precision="fp32")
    rows = random_models.random_rows(100, 2, 8)
    counted = operations(Stepper([Run(cell, 0)], backbone, rows, CPU))
    weights = 6 * (4 * 384**2 + 2 * 384 * 1536)
    assert counted == pytest.approx(4 * 16 * weights, rel=0.05)
    double = operations(Stepper([Run(cell, 0), Run(cell, 1)], backbone, rows, CPU))
    assert double == pytest.approx(counted, rel=1e-9)


def test_time_is_the_median_without_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time, in which things are made ready, is not counted."""
    clock = iter([0.0, 100.0, 0.0, 1.0, 0.0, 3.0, 0.0, 2.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    done: list[int] = []
    assert timed(lambda: done.append(1), CPU, rounds=3) == 2.0
    assert len(done) == 4


def test_a_long_first_time_counts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is done once, and what does not as often as ever."""
    clock = iter([0.0, 2.0, 0.0, 1.0, 0.0, 0.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    done: list[int] = []
    assert timed(lambda: done.append(1), CPU, rounds=3, long=2.0) == 2.0
    assert len(done) == 1
    assert timed(lambda: done.append(1), CPU, rounds=1, long=2.0) == 0.5
    assert len(done) == 3


def test_ceiling_is_a_rate() -> None:
    """Any processor multiplies between a million and a quadrillion numbers a second."""
    assert 1e6 < ceiling(torch.float32, CPU) < 1e15


def test_ceiling_tries_no_larger_product_than_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a type that a processor emulates: the time of a product is that of its side."""
    sides = []

    def slow(product: Callable[[], Tensor], *_: object) -> float:
        sides.append(len(product()))
        return sides[-1] / 5000

    monkeypatch.setattr(step_timer, "timed", slow)
    assert ceiling(torch.float32, CPU) == 2 * 256**3 / (256 / 5000)
    assert set(sides) == {256}
    monkeypatch.setattr(step_timer, "_LONG", 1.0)
    assert ceiling(torch.float32, CPU) == 2 * 2048**3 / (2048 / 5000)
    assert set(sides) == {256, 512, 1024, 2048}


@pytest.mark.parametrize(("plain", "half", "chosen"), [(1.0, 0.5, "bf16"), (1.0, 0.9, "fp32")])
def test_precision_follows_the_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plain: float, half: float, chosen: str
) -> None:
    """Bfloat16 is chosen where a layer's passes are a fifth faster, and the answer is kept."""
    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path))
    times = iter([plain, half])
    monkeypatch.setattr(auto_precision, "timed", lambda *_: next(times))
    assert choose(["tiny-encoder"], 16, CPU) == chosen
    assert choose(["tiny-encoder"], 16, CPU) == chosen  # without measuring again


def test_gain_is_measured_on_real_passes() -> None:
    """The ratio of two times is positive."""
    assert 0.01 < gain((64, 48), 32, CPU) < 100


def test_measurements_are_kept_and_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Entries do not hide each other; an unreadable file is as good as none."""
    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path))
    one, two = (measurement_cache.key_of({"size": n}, CPU) for n in (1, 2))
    assert one != two
    assert measurement_cache.recall(one) is None
    measurement_cache.remember(one, {"1": [0.5, 7]})
    measurement_cache.remember(two, 1.5)
    assert measurement_cache.recall(one) == {"1": [0.5, 7]}
    assert measurement_cache.recall(two) == 1.5
    (tmp_path / "measured.json").write_text("{")
    assert measurement_cache.recall(one) is None
    measurement_cache.remember(one, 2)
    assert measurement_cache.recall(one) == 2


def test_random_shapes_leave_the_generator_alone() -> None:
    """Drawing weights does not move the framework's generator."""
    random_models.draw.cache_clear()
    before = torch.get_rng_state()
    model = random_models.draw("minilm-l6", "fp32").model()
    assert torch.equal(before, torch.get_rng_state())
    assert sum(p.numel() for p in model.parameters() if isinstance(p, nn.Parameter)) > 20e6


def test_bench_prints_a_row_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    """Methods, precisions and sizes are combined; what cannot stack is measured alone."""
    answer = call(
        capsys, "bench", "--methods", "lora,full", "--stacks", "1,2", "--tokens", 8,
        "--batch-size", 2, "--precision", "fp32", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert [(row["method"], row["runs"]) for row in answer.json] == [
        ("lora", 1),
        ("lora", 2),
        ("full", 1),
    ]
    assert all(row["utilisation"] > 0 for row in answer.json)
    for row in answer.json:
        seconds = row["ms_a_run_step"] / 1000
        assert row["tokens_a_second"] == pytest.approx(16 / seconds, rel=0.01)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--precision", "fp8"), "got 'fp8', expected some of fp32, bf16, fp64"),
        (("--stacks", "1,0"), "got '0', expected a whole number from 1 up"),
        (("--methods", "lorra"), "did you mean 'lora'"),
        (("--backbone", "bert-bass"), "backbone 'bert-bass'"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    """Bad values are named."""
    answer = call(capsys, "bench", *flags)
    assert answer.code == 2
    assert message in answer.err


def test_doubtful_measurement_is_kept_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not made again at once, and no other process takes it for true."""
    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path))
    key = measurement_cache.key_of({"busy": 1}, CPU)
    measurement_cache.remember(key, 3.0, sure=False)
    assert measurement_cache.recall(key) == 3.0
    assert not list(tmp_path.iterdir())
    measurement_cache.remember(key, 2.0)
    assert measurement_cache.recall(key) == 2.0
