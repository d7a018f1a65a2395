"""The gate on real runs: it stops five planted bugs, and lets pass what only rounds otherwise."""

from pathlib import Path

import pytest
import torch

import gapbench
from tests.support.planted_bugs import BUGS, other_arithmetic, planted, run
from tests.support.small_suite import call

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five methods, five seeds each."""
    return run(tmp_path_factory.mktemp("gate") / "before")


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_stopped(
    before: Path, tmp_path: Path, bug: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 1, and the method, the task and the difference named."""
    method = BUGS[bug][0]
    with planted(bug):
        after = run(tmp_path / "after", [method])
    answer = call(capsys, "gate", after, "--against", before, "--json")
    assert answer.code == 1
    moved = [each for each in answer.json["changes"] if each["moved"]]
    assert {(each["name"], each["place"]) for each in moved} == {(method, "few on tiny-encoder")}
    assert all(abs(each["difference"]) > 0 for each in moved)
    assert answer.json["absent"] == 20
    said = call(capsys, "gate", after, "--against", before).out
    assert "MOVED" in said
    assert "Stopped: 1 of the rows above moved beyond chance." in said


@pytest.mark.parametrize("way", ["threads", "stack", "rounding", "rough"])
def test_run_without_a_bug_passes(before: Path, tmp_path: Path, way: str) -> None:
    """On other threads, in other stacks, and with other rounding, even a rough one."""
    methods, threads = ["lora", "head"], torch.get_num_threads()
    torch.set_num_threads(2 if way == "threads" else threads)
    with other_arithmetic(1, {"rounding": 1e-6, "rough": 3e-2}.get(way, 0.0)):
        after = run(tmp_path / "after", methods, stack=2 if way == "stack" else None)
    torch.set_num_threads(threads)
    found = gapbench.gate(after, before)
    assert found.passed
    assert found.found.n_equal == 10 or way == "rough"
