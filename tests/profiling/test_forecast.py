"""A forecast counts what a run really does, in seconds that were measured once."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.config.run import SecondTest
from gapbench.bench.core.memory import MemoryPeak
from gapbench.bench.profiling import forecast
from gapbench.bench.profiling.forecast import Pace, run_seconds
from gapbench.bench.store import provenance
from gapbench.bench.tasks import eval_subset
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.training.make_records import records
from gapbench.bench.training.second_tests import ReadyTest
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data, train


@pytest.mark.parametrize(("sizes", "steps"), [(48, 20), (700, 7)])
def test_steps_and_scored_sequences_are_those_of_a_real_run(
    make_backbone: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sizes: int,
    steps: int,
) -> None:
    """Where the train split is larger than what is scored along training, the end adds it."""
    monkeypatch.setenv("GAPBENCH_CACHE", str(tmp_path))
    folder, data = make_backbone("bert"), random_data(train=sizes)
    runs = make_runs("lora", (0, 1), steps=steps, evaluations=3)
    scored: list[int] = []
    forward = eval_subset.forward

    def counted(*given: Any) -> Iterator[Any]:
        for places, *rest in forward(*given):
            scored.append(len(places))
            yield places, *rest

    monkeypatch.setattr(eval_subset, "forward", counted)
    trained = train(folder, runs, data)
    records(trained.trainer, None, MemoryPeak(CPU), provenance.now())
    whole = sum(scored)
    backbone = load_backbone(folder, runs)

    def forecast_with(pace: Pace, tests: Sequence[ReadyTest] = ()) -> float:
        monkeypatch.setattr(forecast, "measure", lambda *_: pace)
        monkeypatch.setattr(forecast, "recall", lambda _: None)
        return run_seconds(runs, backbone, data, CPU, tests)

    assert forecast_with(Pace(1.0, 0.0, 0.0)) == steps
    assert forecast_with(Pace(0.0, 1.0, 0.0)) == whole
    assert forecast_with(Pace(0.0, 0.0, 1.0)) == sizes + 24 + 30
    # A second test takes the time of its tokens.
    same = SecondTest(task=runs[0].cell.task, data=runs[0].cell.data)
    again = ReadyTest(same, EvalSubset.of(data.train))
    tokens = int(data.train.lengths.sum())
    assert forecast_with(Pace(0.0, 1.0, 0.0, [0.5]), [again]) == whole + tokens / 2


def test_pace_is_measured_on_the_stack_itself(make_backbone: Callable[[str], Path]) -> None:
    """A method that trains nothing has no steps; every other time is above zero."""
    folder, data = make_backbone("bert"), random_data()
    for method, trains in (("lora", True), ("untuned", False)):
        runs = make_runs(method, (0, 1))
        pace = forecast.measure(runs, load_backbone(folder, runs), data, CPU)
        assert (pace.step > 0) == trains
        assert pace.sequence > 0
