"""A suite of runs that take a tenth of a second each: its data folder, task and suite file.

The task is beside the suite file, its rows are parquet files, and the backbone is whatever folder
the caller gives. Everything can be changed by the caller, since most tests here want one thing
wrong.
"""

import json
import multiprocessing
import os
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO, TextIOWrapper
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import RLock
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from tqdm import tqdm

from gapbench.bench.cli.main import main
from gapbench.bench.config import task_files
from gapbench.bench.config.run import Budget, Cell, Fingerprint, Run, Training
from gapbench.bench.config.task import Task
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment import suite as suites
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.training.make_records import blank_record
from gapbench.bench.tuning.summary import read_summaries
from tests.support.counting import without_counting
from tests.support.disk import without_waiting

REPOSITORY = Path(__file__).parents[2]
WORDS = ("the", "a", "cat", "dog", "bird", "sees", "likes", "red", "small", "tree", "house")
SIZES = {"train": 40, "validation": 16}

TASK: dict[str, Any] = {
    "name": "animals",
    "version": 1,
    "kind": "classification",
    "description": "Is there a cat in the sentence?",
    "source": {"files": "parquet"},
    "text": ["sentence"],
    "labels": ["no", "yes"],
    "metrics": ["accuracy"],
    "splits": {"train": "train", "test": "validation"},
    "validation_size": 8,
    "max_length": 16,
}
SUITE: dict[str, Any] = {
    "name": "small",
    "description": "A few steps of a few methods.",
    "tasks": ["animals"],
    "methods": ["majority", "head", {"method": "lora", "config": {"rank": 2}}],
    "seeds": 2,
    "budget": {"steps": 4, "batch_size": 4, "evaluations": 2},
    "training": {"learning_rate": 1e-2},
}
CELL = Cell(
    task=Task.model_validate(
        TASK
        | {
            "source": {"hub": "owner/animals", "config": "cats", "revision": "0" * 40},
            "label_range": [0, 1],
            "licence": "CC0",
        }
    ),
    data=Fingerprint(name="owner/animals", digest="0" * 40),
    backbone=Fingerprint(name="tiny", digest="1" * 16),
    method="lora",
    config={"rank": 2, "alpha": 16.0, "dropout": 0.0, "targets": "default"},
    training=Training(),
    budget=Budget(steps=4),
)
"""A cell with every field filled, for tests that need no files."""

PROCESSES = multiprocessing.get_context("forkserver")
"""Processes that start in milliseconds, since their server has imported the engine already.

They are children of that server, which is a child of this process.
"""
PROCESSES.set_forkserver_preload(
    [
        "tests.support.small_suite",
        "gapbench.bench.api.training",
        "gapbench.bench.api.tuning",
        "gapbench.bench.tasks.score",
        "gapbench.reports.render.build",
        "transformers.models.bert.modeling_bert",
        "transformers.convert_slow_tokenizer",
        "pyarrow.pandas_compat",
        "optuna.storages._rdb.models",  # what each tuning process would load by itself
        "optuna.importance._fanova",
        "alembic.command",
        "sqlalchemy.dialects.sqlite",
        *(f"gapbench.methods.{path.stem}" for path in REPOSITORY.glob("methods/[a-z]*.py")),
    ]
)


@dataclass(frozen=True)
class SmallSuite:
    """Where the files of one small suite are; runs of it go to ``results``."""

    folder: Path

    @property
    def path(self) -> Path:
        """The suite file."""
        return self.folder / "small.yaml"

    @property
    def task_path(self) -> Path:
        """The task file beside it."""
        return self.folder / "tasks" / "animals.yaml"

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def backbone(self) -> str:
        """The backbone folder that the suite file names."""
        return str(yaml.safe_load(self.path.read_text())["backbones"][0])

    @property
    def results(self) -> Path:
        """The results folder, which does not exist yet."""
        return self.folder / "results"

    @property
    def planning(self) -> list[str]:
        """Arguments of `check`."""
        return [str(self.path), "--data", str(self.data)]

    @property
    def running(self) -> list[str]:
        """Arguments of `plan` and `run`."""
        return [*self.planning, "--results", str(self.results)]

    def write_suite(self, **changes: Any) -> None:
        """Write the suite file again with other fields."""
        content = yaml.safe_load(self.path.read_text()) | changes
        self.path.write_text(yaml.safe_dump(content))

    def write_task(self, **changes: Any) -> None:
        """Write the task file again with other fields."""
        content = yaml.safe_load(self.task_path.read_text()) | changes
        self.task_path.write_text(yaml.safe_dump(content))

    def write_rows(self, split: str, rows: Mapping[str, Sequence[Any]]) -> None:
        """Replace the rows of a split."""
        pd.DataFrame(rows).to_parquet(self.data / "animals" / f"{split}.parquet")

    def records(self) -> dict[str, bytes]:
        """Return the bytes of every stored record by its path under the results folder."""
        paths = self.results.glob("runs/**/*.json")
        return {str(path.relative_to(self.results)): path.read_bytes() for path in paths}


def make(folder: Path, backbone: Path, **changes: Any) -> SmallSuite:
    """Write a valid suite with its task and data into an empty folder."""
    small = SmallSuite(folder)
    (small.data / "animals").mkdir(parents=True)
    small.task_path.parent.mkdir()
    small.task_path.write_text(yaml.safe_dump(TASK))
    small.path.write_text(yaml.safe_dump(SUITE | {"backbones": [str(backbone)]} | changes))
    for split in SIZES:
        small.write_rows(split, rows(split))
    return small


def stand_ins(folder: Path, name: str) -> Sources:
    """Return sources with an empty file for every split of a suite that is only expanded."""
    suite, path = suites.load(name)
    for entry in (each for task in suite.tasks for each in (task, *task.also_test)):
        task = task_files.load(entry.task, path.parent)
        own = folder / (task.folder or task.name)
        own.mkdir(exist_ok=True)
        for split in task.files.values():
            (own / f"{split}.parquet").touch()
    return Sources(folder)


def rows(split: str) -> dict[str, list[Any]]:
    """Return the valid rows of a split: sentences of 3 to 9 words, and whether they say cat."""
    draw = random.Random(split)  # noqa: S311 - not for secrets
    sentences = [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(SIZES[split])]
    return {"sentence": sentences, "label": [int("cat" in text.split()) for text in sentences]}


def hasten_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start worker processes by that server, where a test is not about how they start."""
    monkeypatch.setattr("gapbench.bench.core.process.SPAWN", PROCESSES)


def planned(small: SmallSuite) -> tuple[list[Run], Sources]:
    """Return all runs of a suite, and where its parts are."""
    suite, path = suites.load(str(small.path))
    sources = Sources(small.data)
    return [entry.run for entry in suites.expand(suite, sources, path)], sources


def numbers(store: Store) -> dict[str, Any]:
    """Return what must not depend on the execution, by run."""
    found = [item for item in store.records() if isinstance(item, Record)]
    return {item.run_hash: item.model_dump(exclude={"cost", "provenance"}) for item in found}


def searched(results: Path) -> list[list[tuple[Any, Any]]]:
    """Return the settings and values of all trials, by study."""
    return [
        [(trial.params, trial.values) for trial in summary.study.trials]  # noqa: PD011 - no frame
        for summary in read_summaries(results)
    ]


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The parsed results."""
        return json.loads(self.out)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Run a command in this process, usage errors included."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    return Answer(code, *capsys.readouterr())


def call_in_ascii(*arguments: object) -> Answer:
    """Run a command in this process where its streams refuse all characters but ASCII's."""
    streams = [TextIOWrapper(BytesIO(), encoding="ascii") for _ in range(2)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        code = main([str(argument) for argument in arguments])
    for stream in streams:
        stream.seek(0)
    return Answer(code, *(stream.read() for stream in streams))


def blank(run: Run, status: Status = Status.OK, **fields: Any) -> Record:
    """Return a record without scores, always the same one."""
    started = datetime(2026, 1, 2, tzinfo=UTC)
    return blank_record(run, torch.device("cpu"), started, status=status, **fields)


def run_command(out: Path, *arguments: object) -> None:
    """Run a command as the target of a process, with one thread; what it prints goes to files."""
    torch.set_num_threads(1)
    tqdm.set_lock(RLock())  # its own lock is a system semaphore, which a killed process leaves
    with without_counting(), without_waiting(), ExitStack() as files:
        files.enter_context(redirect_stdout(files.enter_context(out.open("w"))))
        log = out.with_suffix(".err")
        files.enter_context(redirect_stderr(files.enter_context(log.open("w"))))
        code = main([str(argument) for argument in arguments])
    sys.exit(code)


def begin(out: Path, *arguments: object, **environment: str) -> BaseProcess:
    """Start a command from that server, in a process group of its own; see `run_command`."""
    process = PROCESSES.Process(target=_lead, args=(environment, out, *arguments))
    process.start()
    return process


def _lead(environment: dict[str, str], out: Path, *arguments: object) -> None:
    os.setpgrp()
    os.environ.update(environment)
    run_command(out, *arguments)
