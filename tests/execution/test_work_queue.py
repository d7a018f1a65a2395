"""Which stack comes next, what still fits into the time, and what stacks are expected to take."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from gapbench.bench.adaptation import registry
from gapbench.bench.api.progress import span
from gapbench.bench.cli.argument_types import duration
from gapbench.bench.config.run import Budget, Fingerprint, Run
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.cost_model import Costs, cost_key, makespan, seconds_per_cost
from gapbench.bench.execution.work_queue import ATTEMPTS, Job, WorkQueue
from gapbench.bench.store.record import Cost, Status
from gapbench.bench.store.store import Store, store_at
from gapbench.bench.training.make_records import blank_record
from tests.support.small_stack import CPU, make_runs


def ignore(_done: float, _statuses: Counter[Status]) -> None:
    """Look at no progress."""


def jobs(*seconds: float | None, runs: int = 1) -> list[Job]:
    """Return stacks that are expected to take so long."""
    return [
        Job(make_runs("head", range(runs)), each, relative_cost=1.0 if each is None else each)
        for each in seconds
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still; its only entry is the time."""
    now = [100.0]
    monkeypatch.setattr("gapbench.bench.execution.work_queue.time.monotonic", lambda: now[0])
    return now


def test_stack_that_would_not_end_in_time_comes_after_all_that_do(clock: list[float]) -> None:
    """Time that nothing fits into is given to it: what it does is saved, and the next call ends it.

    Otherwise a stack longer than the budget would never be done, however often it is given.
    """
    first, long = jobs(30, 40)
    short, later = (replace(job, round=1) for job in jobs(20, 20))
    queue = WorkQueue([first, long, short, later], ignore, budget_s=50)
    assert queue.next() is first
    clock[0] += 25
    queue.end(first, {"a": Status.OK}, 25)
    assert queue.next() is short
    clock[0] += 20
    queue.end(short, {"b": Status.OK}, 20)
    assert queue.left == [long]
    assert queue.next() is long
    clock[0] += 6
    queue.end(long, {}, 6)
    assert queue.next() is None
    assert [job.runs for job in queue.left] == [later.runs, long.runs]


def test_stack_of_unknown_length_is_judged_by_those_just_done(clock: list[float]) -> None:
    """Nothing measured: the next counts as fitting only if one like the first would."""
    first, second = jobs(None, None)
    short = replace(jobs(5)[0], round=1)
    queue = WorkQueue([first, second, short], ignore, budget_s=50)
    assert queue.next() is first
    clock[0] += 30
    queue.end(first, {"a": Status.OK}, 30)
    assert queue.expected(second) == 30
    assert queue.next() is short
    assert queue.left == [second]


def test_stack_that_trains_nothing_says_nothing_of_others(clock: list[float]) -> None:
    """It takes seconds for what counts as one step, so that no other would ever fit."""
    (untuned,) = (replace(job, trains=False, relative_cost=1e-3) for job in jobs(None))
    first, second = jobs(None, None)
    queue = WorkQueue([untuned, first, second], ignore, budget_s=50)
    assert queue.next() is untuned
    clock[0] += 8
    queue.end(untuned, {"a": Status.OK}, 8)
    assert queue.next() is first
    clock[0] += 15
    queue.end(first, {"b": Status.OK}, 15)
    assert queue.expected(second) == 15
    assert seconds_per_cost([replace(untuned, seconds=8.0)]) is None


def test_runs_that_the_end_of_the_time_cuts_off_are_left(clock: list[float]) -> None:
    """A stack of three of which one had ended leaves two, and their share of the seconds."""
    (job,) = jobs(30, runs=3)
    told: list[Mapping[str, Status]] = []
    queue = WorkQueue([job], ignore, 50, lambda _, statuses: told.append(statuses))
    assert queue.seconds_left() == 50
    assert queue.next() is job
    clock[0] += 60
    assert queue.seconds_left() == 0
    done = {job.runs[0].hash: Status.OK}
    queue.end(job, done, 60)
    assert told == [done]
    assert [list(left.runs) for left in queue.left] == [list(job.runs[1:])]
    assert queue.expected(queue.left[0]) == 20


def test_agenda_without_a_time_begins_everything_in_order() -> None:
    """Without a budget nothing is left, however long it takes."""
    wanted = jobs(3, 1e9, None)
    queue = WorkQueue(wanted, ignore)
    assert [queue.next() for _ in range(4)] == [*wanted, None]
    assert queue.left == []


def test_progress_counts_finished_runs_and_shares_of_those_under_way() -> None:
    """A stack of two that is half done counts as one run; its end counts both, once."""
    seen: list[float] = []
    first, second = jobs(1, 1, runs=2)
    queue = WorkQueue([first, second], lambda done, _: seen.append(done))
    queue.next()
    queue.next()
    queue.advance(first, 0.5)
    queue.end(first, {"a": Status.OK, "b": Status.FAILED})
    queue.advance(second, 0.25)
    assert seen == [1.0, 2.0, 2.5]
    assert queue.statuses == {Status.OK: 1, Status.FAILED: 1}


def test_stack_whose_worker_died_comes_first_again_until_too_many_died() -> None:
    """It is tried at once as often as allowed; then its end is to be told."""
    first, second = jobs(1, 1)
    queue = WorkQueue([first, second], ignore)
    for attempt in range(1, ATTEMPTS + 1):
        assert queue.next() is first
        assert queue.died(first) is (attempt < ATTEMPTS)
    queue.end(first, {"a": Status.FAILED})
    assert queue.next() is second


def with_cost(run: Run, seconds: float) -> Cost:
    """Return what a run cost that took so many seconds."""
    counts = dict.fromkeys(("steps", "train_tokens", "trainable_params", "stack_size"), 1)
    return Cost(
        **counts,
        train_seconds=seconds - 1,
        evaluation_seconds=1,
        tokens_per_second=None,
        peak_memory_bytes=1000 * (run.seed + 1),
        train_flops=1.0,
        forward_passes=1,
        backward_passes=1,
    )


def store_with(folder: Path, runs: Sequence[Run], seconds: Sequence[float]) -> Store:
    """Return a store in which these runs are done and took so long."""
    store = store_at(folder)
    for run, each in zip(runs, seconds, strict=True):
        started = datetime(2026, 1, 2, tzinfo=UTC)
        cost = with_cost(run, each)
        store.write(blank_record(run, CPU, started, status=Status.OK, cost=cost))
    return store


def known_sources(runs: Sequence[Run]) -> Sources:
    """Return sources that know the backbone of made-up runs as the built-in one."""
    sources = Sources()
    sources.locations = {run.cell.backbone.digest: "tiny-encoder" for run in runs}
    return sources


def test_stack_that_does_not_fit_into_memory_comes_back_as_two_halves() -> None:
    """They come next, in order, and expect their share of what the whole would have taken."""
    runs = make_runs("lora", range(5))
    queue = WorkQueue([Job(runs, seconds=10, relative_cost=5), Job(runs[:1])], lambda *_: None)
    first = queue.next()
    assert first is not None
    queue.halve(first)
    halves = [queue.next(), queue.next()]
    assert [half.runs for half in halves if half] == [runs[:2], runs[2:]]
    assert [(half.seconds, half.relative_cost) for half in halves if half] == [(4, 2), (6, 3)]
    assert len(queue) == 1


def test_costs_are_medians_of_what_is_stored(tmp_path: Path) -> None:
    """Records of a task, backbone and method say what its runs take; others are unknown."""
    runs = make_runs("head", range(3))
    costs = Costs.measured(store_with(tmp_path, runs, [2, 3, 100]), known_sources(runs))
    (lora,) = make_runs("lora", (0,))
    job = costs.job(make_runs("head", range(5, 9)))
    assert job.seconds == 4 * 3
    assert job.memory_bytes == 1.25 * 3000
    assert costs.job([lora]).seconds is None
    assert costs.job([lora]).memory_bytes > 1e9


def test_seconds_grow_with_steps_and_with_what_settings_cost(tmp_path: Path) -> None:
    """What is stored of a shorter run, or of a smaller ensemble, tells of a larger one."""
    short, long = (make_runs("lora", (0,), steps=steps) for steps in (10, 40))
    few, many = (
        make_runs("lora_ensemble", (0,), steps=10, configs=[{"members": members}])
        for members in (2, 6)
    )
    costs = Costs.measured(store_with(tmp_path, [*short, *few], [3, 8]), known_sources(short))
    assert costs.seconds(short[0].cell) == pytest.approx(3)
    assert costs.seconds(long[0].cell) == pytest.approx(12)
    assert costs.seconds(few[0].cell) == pytest.approx(8)
    assert costs.seconds(many[0].cell) == pytest.approx(24)


def test_record_of_a_method_that_is_gone_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may hold what other versions wrote."""
    (run,) = make_runs("lora", (0,))
    store = store_with(tmp_path, [run], [3])
    monkeypatch.setattr(registry, "get", _unknown)
    assert Costs.measured(store, known_sources([run])).unit_seconds == {}


def test_record_of_a_backbone_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    """Nobody named its folder in this call."""
    (run,) = make_runs("lora", (0,))
    assert Costs.measured(store_with(tmp_path, [run], [3]), Sources()).unit_seconds == {}


def test_assumed_rows_are_not_mixed_with_known_ones() -> None:
    """A record of all rows, which nobody has counted yet, tells nothing of a run on 256 of them."""
    costs = Costs(Sources())
    (run,) = make_runs("lora", (0,))
    budget = Budget(epochs=1, batch_size=8)
    whole = run.cell.changed({"budget": budget})
    part = run.cell.changed({"budget": budget.model_copy(update={"train_size": 256})})
    costs._bytes[run.cell.backbone] = 1e6
    costs.tell(whole, 7)
    assert costs.seconds(whole) == pytest.approx(7)
    assert costs.seconds(part) is None


def _unknown(name: str) -> None:
    raise ConfigError(f"unknown method {name!r}")


def test_stacks_come_longest_first_and_kinds_together(tmp_path: Path) -> None:
    """Kinds follow each other by their longest stack, and are not mixed."""
    head, lora, full = (make_runs(name, range(6)) for name in ("head", "lora", "full"))
    done = store_with(tmp_path, [head[0], lora[0], full[0]], [2, 9, 5])
    stacks = [head[1:2], lora[1:2], full[1:2], head[2:6], lora[2:5], full[2:3]]
    found = Costs.measured(done, known_sources(head)).longest_first(stacks)
    assert [(cost_key(j.runs[0].cell)[2], j.seconds) for j in found] == [
        ("lora", 27),
        ("lora", 9),
        ("head", 8),
        ("head", 2),
        ("full", 5),
        ("full", 5),
    ]


def test_under_a_budget_the_cheapest_stack_of_a_round_comes_next(tmp_path: Path) -> None:
    """Kinds are not kept together, so that whatever ends soon comes soon."""
    head, lora = (make_runs(name, range(6)) for name in ("head", "lora"))
    done = store_with(tmp_path, [head[0], lora[0]], [2, 9])
    costs = Costs.measured(done, known_sources(head))
    stacks = [costs.job(runs) for runs in (lora[1:2], head[1:6], head[2:3])]
    queue = WorkQueue(stacks, ignore, budget_s=1e6)
    assert [queue.next() for _ in range(4)] == [stacks[2], stacks[0], stacks[1], None]


def test_stack_of_unknown_length_comes_after_one_of_seconds(clock: list[float]) -> None:
    """Nothing that trains was measured; once the time is over, all that waits is left."""
    unknown = Job(make_runs("lora", (0,)), relative_cost=0.5)
    known, later = (
        Job(make_runs("untuned", (0,)), 2.0, trains=False, round=number) for number in range(2)
    )
    queue = WorkQueue([unknown, known, later], ignore, budget_s=50)
    assert queue.next() is known
    clock[0] += 60
    assert queue.next() is None
    assert queue.left == [unknown, later]


def test_what_a_first_seed_took_orders_the_second_ones(clock: list[float]) -> None:
    """Nothing told that one method is dear: its next seed comes last."""
    first = [Job(make_runs(name, (0,))) for name in ("full", "head")]
    second = [Job(make_runs(name, (1,)), round=1) for name in ("full", "head")]
    queue = WorkQueue([*first, *second], ignore, budget_s=130)
    for job, seconds in zip(first, (60, 10), strict=True):
        assert queue.next() is job
        clock[0] += seconds
        queue.end(job, {job.runs[0].hash: Status.OK}, seconds)
    assert [queue.next(), queue.next(), queue.next()] == [second[1], second[0], None]


def test_unmeasured_stacks_are_ordered_by_passes_steps_and_weights() -> None:
    """More steps, or more passes a step, come first; untrained methods come last."""
    longer, plain = make_runs("lora", (0,), steps=20), make_runs("lora", (0,), steps=10)
    dearer = make_runs("hiddenkey", (0,), steps=15)
    majority = make_runs("majority", (0,))
    costs = Costs(known_sources(plain))
    found = costs.longest_first([majority, plain, dearer, longer])
    names = [(job.runs[0].cell.method, job.runs[0].cell.budget.steps) for job in found]
    assert names == [("hiddenkey", 15), ("lora", 20), ("lora", 10), ("majority", 20)]
    assert seconds_per_cost(found) is None


def test_makespan_is_that_of_the_last_worker() -> None:
    """Three jobs on two workers: the third goes to whoever is free first."""
    assert makespan([5, 3, 3], 1) == 11
    assert makespan([5, 3, 3], 2) == 6
    assert makespan([5, 3, 3], 7) == 5


@pytest.mark.parametrize(
    ("text", "seconds"), [("45m", 2700), ("1h30m", 5400), ("90s", 90), ("2d", 172800)]
)
def test_duration_is_a_number_with_units(text: str, seconds: float) -> None:
    """Units go from large to small."""
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "45", "m", "0m", "1.5h", "-3m", "30m1h", "soon", "9" * 400 + "d"]
)
def test_other_durations_are_refused(text: str) -> None:
    """A bare number has no unit that everybody would expect."""
    with pytest.raises(Exception, match="such as 45m or 1h30m"):
        duration(text)


def test_spans_are_told_in_two_units_and_never_as_nothing() -> None:
    """Longer times read longer."""
    told = [span(seconds) for seconds in (0, 59.6, 3599, 3600, 90000)]
    assert told == ["1 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "1 d 1 h"]
    assert all(a != b for a, b in pairwise(told))


def test_backbone_in_the_hub_counts_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are not at hand have no size; order goes by steps then."""
    monkeypatch.setattr(Sources, "weight_bytes", lambda *_: float("inf"))
    costs = Costs(Sources())
    few, many = make_runs("lora", (0,), steps=3), make_runs("lora", (0,), steps=30)
    assert [job.runs for job in costs.longest_first([few, many])] == [many, few]
    assert isinstance(few[0].cell.backbone, Fingerprint)
