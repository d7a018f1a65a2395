"""Small suites and rows for races, and the call."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import gapbench
from gapbench.bench.api.advising import start
from gapbench.bench.experiment import scaffold
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from tests.support.small_suite import SmallSuite, make


@pytest.fixture
def small(
    tmp_path: Path, make_backbone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> SmallSuite:
    """A suite of a method that trains and one that does not."""
    monkeypatch.setattr(start, "SEEDS", 2)
    return make(tmp_path / "small", make_backbone("bert"), methods=["majority", "lora", "head"])


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of 100 rows, whose runs take few steps."""
    monkeypatch.setattr(scaffold, "UPDATES", {"tiny": 5, "other": 5})
    monkeypatch.setattr(start, "SEEDS", 2)
    draw = random.Random(0)  # noqa: S311 - not for secrets
    path = tmp_path / "my reviews.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["review", "stars"])
        for _ in range(100):
            words = draw.choices(["the", "cat", "dog", "red"], k=6)
            table.writerow([" ".join(words), "yes" if "cat" in words else "no"])
    return path


def advised(source: object, **given: object) -> gapbench.Advice:
    """Call `advise` with few arms and blocks."""
    return gapbench.advise(
        source, **{"arms": 3, "folds": 2, "repeats": 2, "progress": False, **given}
    )


def records(folder: Path) -> list[Record]:
    """Return the records of a results folder."""
    return [each for each in Store(folder).records() if isinstance(each, Record)]
