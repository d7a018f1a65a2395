"""Answers of stored runs as a file for judges, and their judgements back; no judge is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapbench.bench.api.choices import FORMS, check_above_zero, names, one_of
from gapbench.bench.core.errors import StoreError
from gapbench.bench.core.files import write_text

if TYPE_CHECKING:
    from gapbench.bench.api.calls import Names, Place
    from gapbench.bench.store.judgements import Imported
    from gapbench.bench.tasks.answers import Answers, Test
    from gapbench.reports.results.load import LoadedResults
    from gapbench.reports.results.selection import Selection
    from gapbench.reports.tables.standing import Standing


@dataclass(frozen=True)
class ExportedAnswers:
    """A file for judges.

    Attributes:
        path: the file.
        ratings: answers to rate.
        pairs: pairs to choose from.
        items: rows that are asked about.
    """

    path: Path
    ratings: int
    pairs: int
    items: int

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f"{self.path}: {self.ratings} answers to rate and {self.pairs} pairs to choose from, "
            f"on {self.items} rows"
        )


def export_answers(
    results: str | PathLike[str],
    to: str | PathLike[str],
    *,
    form: str = "both",
    items: int = 100,
    seed: int = 0,
    tasks: Names = None,
    backbones: Names = None,
    methods: Names = None,
    reference: str = "",
    data: Place = None,
    offline: bool = False,
) -> ExportedAnswers:
    """Write the answers of stored runs to a file for judges, who cannot tell the methods.

    Args:
        results: results folder.
        to: file to write, in JSON lines: a prompt, its references, and one answer, to be rated
            from 1 to 10 in ``score``, or two, of which ``preference`` names the better one: A, B
            or tie.
        form: "ratings", "pairs" or "both".
        items: rows of each test to ask about, at most.
        seed: of the choice of rows, of the order in pairs, and of the order of lines.
        tasks: tasks to use; None uses all.
        backbones: backbones to use; None uses all.
        methods: methods to use; None uses all.
        reference: row that the others are paired with; "" for what the suite names.
        data: folder of local data, as given to `run`.
        offline: refuse what only the hub has.

    Raises:
        StoreError: if no run has written answers, or the file exists or cannot be written.
        DataError: if the rows cannot be read.
        RecordError: if they are not those that were answered.
    """
    from gapbench.bench.data.sources import Sources
    from gapbench.bench.tasks.answers import in_order
    from gapbench.reports.results.selection import Selection

    path = Path(to)
    if path.exists():
        raise StoreError(f"{path} exists already, and may hold judgements; give a new file")
    one_of("form", form, FORMS)
    check_above_zero({"items": items}, "items")
    part = Selection(
        names("tasks", tasks), names("backbones", backbones), names("methods", methods)
    )
    sources = Sources(None if data is None else Path(data), offline=offline)
    tests = _answered_tests(results, part, reference)
    questions = (each for test in tests for each in test.questions(sources, items, seed, form))
    lines = in_order(questions, seed)
    if not lines:
        raise StoreError(
            f"results folder {results}: there are no pairs, as no row has answers from a seed of "
            "the reference beside it; name another with --reference, or ask for ratings"
        )
    _write(path, lines)
    pairs = sum("preference" in each for each in lines)
    asked = {(each["task"], each["item"]) for each in lines}
    return ExportedAnswers(path, len(lines) - pairs, pairs, len(asked))


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in lines))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; give another file") from None


def _answered_tests(results: str | PathLike[str], part: Selection, reference: str) -> list[Test]:
    """Return the tests on which shown rows of a part of a results folder have answers."""
    from gapbench.bench.store.store import Store
    from gapbench.reports.results.load import load
    from gapbench.reports.tables.leaderboard import BOARD
    from gapbench.reports.tables.summary import summarise

    loaded = part.of(load(Store(Path(results))))
    summary = summarise(loaded, reference)
    boards = [(board, set(board["name"])) for _, board in summary.groupby(BOARD, sort=False)]
    found = [
        test
        for board, shown in boards
        for test in _tests(loaded.whole or loaded, board["standing"].iloc[0], shown)
    ]
    if not found:
        raise StoreError(
            f"results folder {results}{f' ({loaded.part})' if loaded.part else ''} holds no "
            "answers; runs write them on tasks of kind generation, and of kind instruction with "
            "the field 'instruction.decoding'"
        )
    return found


def _tests(results: LoadedResults, standing: Standing, shown: set[str]) -> Iterator[Test]:
    """Yield the tests of a board on which the shown rows have answers."""
    from gapbench.bench.store.judgements import answered_splits
    from gapbench.bench.tasks.answers import Test

    rows = {name: standing.rows[name] for name in shown}
    cells = {name: results.cells[row.config_hash] for name, row in rows.items() if row.ok_runs}
    splits = dict.fromkeys(split for each in cells.values() for split in answered_splits(each))
    first = standing.reference
    for split in splits:
        runs = {name: _by_seed(results, rows[name], split) for name in cells}
        theirs = _by_seed(results, standing.rows[first], split) if first else {}
        pairs = [
            (answers, theirs[seed])
            for name, own in runs.items()
            for seed, answers in own.items()
            if name != first and seed in theirs
        ]
        if every := [answers for own in runs.values() for answers in own.values()]:
            yield Test(next(iter(cells.values())).cell, split, every, pairs)


def _by_seed(results: LoadedResults, row: Any, split: str) -> dict[int, Answers]:
    """Return the answers of the runs of a row that have any."""
    found = {seed: _answers(results, row.config_hash, seed, split) for seed in row.ok_runs}
    return {seed: answers for seed, answers in found.items() if answers}


def _answers(results: LoadedResults, config_hash: str, seed: int, split: str) -> Answers:
    """Return the answers of a run; empty if none are stored."""
    from gapbench.bench.store.judgements import TEXT
    from gapbench.bench.tasks.answers import Answer
    from gapbench.reports.results.judged import JudgedResults

    known = JudgedResults(results).answers(config_hash, seed, split)
    items = results.items(config_hash, seed, split)
    texts = items.table[TEXT].to_pylist() if known and items is not None else []
    return {
        item: Answer(code, text) for (item, code), text in zip(known.items(), texts, strict=True)
    }


def import_judgements(results: str | PathLike[str], file: str | PathLike[str]) -> Imported:
    """Store judgements beside the records, which stay as they are; reports then show them.

    Args:
        results: results folder that the answers came from.
        file: JSON lines: the ``id`` of a line of `export_answers`, the name of the ``judge``, and
            ``score`` or ``preference``. Several judges may judge the same, in one file or several.

    Returns:
        How many judgements were added, and how many were stored before.

    Raises:
        DataError: naming file, line, field and value at fault; nothing is stored then.
        StoreError: if the folder cannot be written.
    """
    from gapbench.bench.store.judgements import add
    from gapbench.bench.store.store import Store

    if not Path(results).is_dir():
        raise StoreError(f"results folder {results} does not exist; give the one that was answered")
    return add(Store(Path(results)), Path(file))
