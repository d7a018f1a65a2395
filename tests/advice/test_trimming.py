"""Fitting a race into its time: what is cut, in which order, and that the same call goes on."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from gapbench.bench.advice.arms import Arm, design
from gapbench.bench.advice.trimming import RaceBounds, StoredDesign, trim
from gapbench.bench.api.choices import ADVISED_METHODS as METHODS
from gapbench.bench.config.run import Budget, NestedFolds
from gapbench.bench.core.errors import RecordError
from tests.advice.test_arms import arms

COST = {"lora": 1.0, "hiddenkey": 1.5, "lora_dropout": 4.0, "bilora": 5.0}  # seconds of an epoch


def wanted(count: int = 12, methods: Sequence[str] = METHODS) -> list[Arm]:
    """Return a design whose runs have 12 epochs."""
    budget = Budget(epochs=12, evaluations=8)
    return [
        Arm(a.cell.changed({"budget": budget}), a.variant) for a in design(arms(*methods), count)
    ]


def measure(found: Sequence[Arm]) -> Mapping[str, float]:
    """Return seconds that grow with the epochs, beside a tenth that does not."""
    return {
        arm.name: COST[arm.cell.method] * (0.9 * (arm.cell.budget.epochs or 0) + 1.2)
        for arm in found
    }


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RaceBounds]:
    """Return bounds that end so many seconds from now, of a clock that stands still."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)

    def bounds(seconds: float, **other: float) -> RaceBounds:
        return RaceBounds(1000.0 + seconds, **{"blocks": 5, "seeds": 5, "fewest_epochs": 3} | other)

    return bounds


def needed(found: Sequence[Arm], blocks: int = 5, seeds: int = 5) -> float:
    """Return the time of blocks and final runs, added up anew."""
    seconds = measure(found)
    first: dict[str, float] = {}
    for arm in found:
        first.setdefault(arm.cell.method, seconds[arm.name])
    return blocks * sum(seconds.values()) + seeds * sum(first.values())


def test_nothing_is_cut_where_all_fits(bounds: Callable[..., RaceBounds]) -> None:
    """With as much time as is needed, or without an end."""
    all_arms = wanted()
    for seconds in (needed(all_arms), math.inf):
        assert trim(all_arms, measure, bounds(seconds)) == all_arms


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
def test_runs_are_shortened_before_arms_are_left_out(
    share: float, bounds: Callable[..., RaceBounds]
) -> None:
    """All arms stay, with as many epochs as fit; one more would not."""
    all_arms = wanted()
    seconds = share * needed(all_arms)
    kept = trim(all_arms, measure, bounds(seconds))
    epochs = kept[0].cell.budget.epochs
    assert epochs is not None
    assert [arm.name for arm in kept] == [arm.name for arm in all_arms]
    assert {arm.cell.budget.epochs for arm in kept} == {epochs}
    assert 3 <= epochs < 12
    assert needed(kept) <= seconds < needed([arm.of_epochs(epochs + 1) for arm in all_arms])


def test_shorter_runs_are_scored_as_often_in_an_epoch() -> None:
    """But not fewer than four times, unless the whole run is."""
    (arm, *_) = wanted()
    often = {epochs: arm.of_epochs(epochs).cell.budget.evaluations for epochs in (9, 6, 3)}
    assert often == {9: 6, 6: 4, 3: 4}
    few = Arm(arm.cell.changed({"budget": Budget(epochs=12, evaluations=2)}))
    assert few.of_epochs(3).cell.budget.evaluations == 2


def test_methods_come_before_settings_and_cheap_before_dear(
    bounds: Callable[..., RaceBounds],
) -> None:
    """What no longer fits is passed over, and what fits after it is kept, in the design's order."""
    all_arms = wanted()
    kept = trim(all_arms, measure, bounds(250))
    assert [arm.name for arm in kept] == [
        *("lora", "hiddenkey", "lora / rate 0.0003", "hiddenkey / rate 0.0003"),
        *("lora / rate 0.003", "hiddenkey / rate 0.003"),
    ]
    assert {arm.cell.budget.epochs for arm in kept} == {3}
    assert needed(kept) <= 250
    with_all = trim(all_arms, measure, bounds(300))
    assert {arm.cell.method for arm in with_all} == {"lora", "hiddenkey", "lora_dropout"}


def test_what_is_asked_for_is_never_left_out(bounds: Callable[..., RaceBounds]) -> None:
    """The first arms stay, and runs that must stay as long do; a race has two arms at least."""
    all_arms = wanted()
    assert trim(all_arms, measure, bounds(1, least=4))[:4] == [
        arm.of_epochs(3) for arm in all_arms[:4]
    ]
    whole = trim(all_arms, measure, bounds(1, fewest_epochs=None))
    assert [arm.name for arm in whole] == ["lora", "hiddenkey"]
    assert {arm.cell.budget.epochs for arm in whole} == {12}


def design_of(
    folder: Path,
    arms: list[Arm],
    budget: float | None = 60.0,
    *,
    begun: bool = False,
    folds: int = 5,
) -> StoredDesign:
    """Return the stored design of a call for some arms."""
    return StoredDesign(
        folder, arms, NestedFolds(folds=folds, nested=True), budget, lambda _: begun
    )


def test_race_goes_on_with_the_arms_it_began_with(tmp_path: Path) -> None:
    """Whatever the time of later calls; one at the same time takes what the first has chosen."""
    all_arms = wanted()
    kept = [arm.of_epochs(3) for arm in all_arms[:2]]
    first = design_of(tmp_path, all_arms)
    assert first.read() is None
    assert first.write(kept) == kept
    assert first.read() == first.write(all_arms) == kept
    assert design_of(tmp_path, all_arms, None, begun=True).read() == kept


def test_design_without_a_run_binds_no_call_with_another_budget(tmp_path: Path) -> None:
    """Who has seen what a race takes, and gives it a time, gets one that fits."""
    all_arms = wanted()
    design_of(tmp_path, all_arms, None).write(all_arms)
    later = design_of(tmp_path, all_arms, 300.0)
    assert later.read() is None
    assert later.write(all_arms[:3]) == later.read() == all_arms[:3]


def test_races_in_one_folder_have_designs_of_their_own(tmp_path: Path) -> None:
    """Other arms, or the same on other folds, take nothing from each other."""
    all_arms, other = wanted(), wanted(6)
    calls = [design_of(tmp_path, all_arms), design_of(tmp_path, other)]
    calls.append(design_of(tmp_path, all_arms, folds=3))
    for number, call in enumerate(calls, 2):
        assert call.read() is None
        call.write(list(call.wanted[:number]))
    assert [len(call.read() or ()) for call in calls] == [2, 3, 4]


def test_damaged_file_is_named(tmp_path: Path) -> None:
    """With the way out."""
    design_of(tmp_path, wanted()).write(wanted())
    (path,) = tmp_path.glob("*.json")
    path.write_text(path.read_text()[:30])
    with pytest.raises(RecordError, match=r"design-.*\.json: truncated .* chosen anew"):
        design_of(tmp_path, wanted()).read()
