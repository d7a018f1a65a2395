"""What a run does first where its time is limited and nothing was measured before."""

import re
from collections.abc import Sequence

import pytest

import gapbench
from gapbench.bench.config.run import Run
from gapbench.bench.execution import calibration
from tests.support.small_suite import SmallSuite

SECONDS = {"full": 500.0, "head": 20.0, "lora": 5.0, "majority": 1.0}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Run]]:
    """Runs that are measured, each of which takes what `SECONDS` tells."""
    seen: list[Sequence[Run]] = []

    def seconds(runs: Sequence[Run], *_: object) -> float:
        seen.append(runs)
        return SECONDS[runs[0].cell.method]

    monkeypatch.setattr(calibration, "run_seconds", seconds)
    return seen


def test_first_seeds_are_measured_and_the_cheapest_method_comes_first(
    small: SmallSuite, measured: list[Sequence[Run]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Full training is no dearer than LoRA by its sizes alone, so that it came before it.

    It fits no time here, and comes after all seeds of the others.
    """
    small.write_suite(methods=[*SECONDS], seeds=2)
    found = gapbench.run(small.path, data=small.data, results=small.results, time_budget=300)
    assert found.outcome.now == {"ok": 8}
    assert [[run.seed for run in runs] for runs in measured] == [[0]] * 4
    ended = re.findall(r"animals (\w+), seed", capsys.readouterr().err)
    assert ended == ["majority", "lora", "head"] * 2 + ["full"] * 2


def test_without_a_limit_nothing_is_measured(
    small: SmallSuite, measured: list[Sequence[Run]]
) -> None:
    """Every run will be done, whatever it takes."""
    gapbench.run(small.path, data=small.data, results=small.results, methods="head")
    assert measured == []
