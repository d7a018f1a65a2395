"""A suite with second tests: its rows, its decoder, and runs of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import gapbench
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store
from tests.support.causal_files import (
    CHOOSE,
    COLOURS,
    NOUNS,
    STORIES,
    make_decoder,
    questions,
)

ASK = CHOOSE | {
    "name": "ask",
    "validation_size": 0,
    "splits": {"train": None, "test": "test"},
    "choice": CHOOSE["choice"]
    | {"parts": "who", "part_groups": {"first": NOUNS[::2], "second": NOUNS[1::2]}},
}
SUITE: dict[str, Any] = {
    "name": "second",
    "tasks": [{"task": CHOOSE, "also_test": [ASK, STORIES]}],
    "methods": ["lora", "full", "lora_ensemble", "untuned"],
    "seeds": 2,
    "budget": {"steps": 8, "batch_size": 4, "evaluations": 2},
    "training": {"learning_rate": 0.02},
}


@dataclass(frozen=True)
class Files:
    """Rows of all tasks, and a decoder."""

    folder: Path

    def suite(self, **changes: Any) -> dict[str, Any]:
        """Return the suite with other fields."""
        return SUITE | {"backbones": [str(self.folder / "decoder")]} | changes

    def run(self, results: Path, **changes: Any) -> dict[tuple[str, int], Record]:
        """Run the suite with other fields; return its records by method and seed."""
        gapbench.run(self.suite(**changes), results=results, data=self.folder / "data", workers=1)
        found = [each for each in Store(results).records() if isinstance(each, Record)]
        assert all(each.status == "ok" for each in found), [each.detail for each in found]
        return {(each.cell.method, each.seed): each for each in found}


def write_files(folder: Path) -> Files:
    """Write questions for training and testing, stories, and a decoder."""
    make_decoder(folder / "decoder", "llama")
    for name in ("choose", "ask", "stories"):
        (folder / "data" / name).mkdir(parents=True)
    for seed, (place, n) in enumerate(
        {"choose/train": 40, "choose/test": 20, "ask/test": 24}.items()
    ):
        pd.DataFrame(questions(n, seed)).to_parquet(folder / "data" / f"{place}.parquet")
    texts = [f"the {noun} is {colour} and {noun}" for noun in NOUNS for colour in COLOURS]
    pd.DataFrame({"text": texts}).to_parquet(folder / "data" / "stories" / "test.parquet")
    return Files(folder)
