"""Judgements of answers by people or models: the lines of a file, and what is stored of them.

No judge is called: answers leave in a file and come back judged. An answer is named by a code, a
hash of its test, its row and its text. No method is part of it: whoever sees a code learns nothing,
and equal answers of several runs are judged once. A pair is named by the codes of its two answers,
in the order in which they are shown.

    <root>/judgements/<hash>.jsonl      what one import added; never changed

A line there has ``id``, ``judge``, and ``score`` or ``preference``.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import BeforeValidator, Field, model_validator

from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import BenchError, ConfigError, DataError, RecordError
from gapbench.bench.core.files import explained, refuse_outside, write_text
from gapbench.bench.core.schema import DisplayName, FrozenModel, content_hash, matching, validate
from gapbench.bench.data.readers import parse_rows, read_text
from gapbench.bench.store.record import Record
from gapbench.bench.store.record_io import TEST
from gapbench.bench.store.store import JUDGEMENTS, Store

LOWEST, HIGHEST = 1.0, 10.0
"""Range of a score."""

TEXT = "text"
"""Column of the answers in stored predictions."""

QUESTION = ("task", "item", "prompt", "references", "answer", "answer_a", "answer_b")
"""Fields of what a judge is shown. They may stay in a line; nothing reads them."""

_BETWEEN = "-"  # of the codes of a pair
_CODE = "[0-9a-f]{16}"
_Id = Annotated[
    str,
    matching(
        rf"{_CODE}({_BETWEEN}{_CODE})?",
        "should be as in a file of 'gapbench export-answers': 16 digits, or twice 16 for a pair",
    ),
]


def _named(judge: Any) -> Any:
    if judge is None:
        raise ValueError("is empty; write who judged, and remove lines that were not judged")
    return judge


class Judgement(FrozenModel):
    """What one judge says of an answer or a pair."""

    id: _Id
    judge: Annotated[DisplayName, BeforeValidator(_named)] = Field(description="name of who judged")
    score: float | None = Field(default=None, ge=LOWEST, le=HIGHEST, strict=True)
    preference: Literal["A", "B", "tie"] | None = None

    @model_validator(mode="after")
    def _one_verdict(self) -> Self:
        wanted, other = ("preference", "score") if self.pair else ("score", "preference")
        if getattr(self, wanted) is None:
            allowed = "A, B or tie" if self.pair else f"{LOWEST:g} to {HIGHEST:g}"
            what = "a pair" if self.pair else "an answer"
            raise ValueError(
                f"field {wanted!r} is empty, but the line is about {what}; allowed: {allowed}; "
                "remove lines that were not judged"
            )
        if getattr(self, other) is not None:
            raise ValueError(f"field {other!r} does not go with {wanted!r}; leave it out")
        return self

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the one or two answers, as shown."""
        return tuple(self.id.split(_BETWEEN))

    @property
    def pair(self) -> bool:
        """Whether it is about a pair."""
        return _BETWEEN in self.id

    @property
    def line(self) -> str:
        """The line that is stored."""
        return json.dumps(self.model_dump(exclude_none=True), ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Imported:
    """What an import added.

    Attributes:
        path: the new file; None if everything was stored before.
        added: new judgements.
        known: judgements that were stored before.
        judges: names of the judges in the file.
    """

    path: Path | None
    added: int
    known: int
    judges: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in a sentence."""
        before = f", {self.known} were stored before" if self.known else ""
        return f"{self.added} judgements of {', '.join(self.judges)} added{before}"


def pair_id(first: str, second: str) -> str:
    """Return the name of a pair in the order in which its answers are shown."""
    return first + _BETWEEN + second


def tested(cell: Cell, split: str) -> tuple[Cell, str]:
    """Return the cell by which the rows of a scored split are prepared, and their split in it."""
    test = next((each for each in cell.also_test if each.name == split), None)
    return (cell, split) if test is None else (cell.testing(test), TEST)


def codes(cell: Cell, split: str, table: pa.Table) -> list[str]:
    """Return the code of each answer in the predictions of a run.

    Args:
        cell: of the run.
        split: a scored split.
        table: its predictions, with the column `TEXT`.
    """
    own, name = tested(cell, split)
    test = content_hash([own.task.identity(), own.data.digest, name])
    return [
        hashlib.sha256(json.dumps([test, example, text]).encode()).hexdigest()[:16]
        for example, text in zip(
            table["example_id"].to_pylist(), table[TEXT].to_pylist(), strict=True
        )
    ]


def answered_splits(record: Record) -> list[str]:
    """Return the splits of a record that may have answers to judge."""
    return [name for name in record.splits if name not in {"train", "validation"}]


def read(root: Path) -> list[Judgement]:
    """Return all stored judgements of a results folder, each once.

    Raises:
        RecordError: if a file of them is damaged.
    """
    found: dict[tuple[str, str], Judgement] = {}
    for path in sorted((root / JUDGEMENTS).glob("*.jsonl")):
        try:
            found |= {(each.id, each.judge): each for _, each in _lines(path)}
        except DataError as error:
            raise RecordError(f"{error}; delete the file and import the judgements again") from None
    return list(found.values())


def add(store: Store, path: Path) -> Imported:
    """Store the judgements of a file beside the records, which stay as they are.

    Raises:
        DataError: naming file, line, field and value at fault; nothing is stored then.
        StoreError: if the folder cannot be written.
    """
    before = {(each.id, each.judge): each for each in read(store.root)}
    items = _items(store)
    given: dict[tuple[str, str], tuple[int, Judgement]] = {}
    for number, each in _lines(path):
        place = f"{path}, line {number}"
        _require_known(place, each, items, store.root)
        key = (each.id, each.judge)
        line, other = given.get(key, (None, before.get(key)))
        if other is not None and other != each:
            where = f"line {line}" if line else "an earlier import"
            raise DataError(
                f"{place}: judge {each.judge!r} says {_said(each)} of {each.id!r}, but "
                f"{_said(other)} in {where}; keep one of the two, or give another name as judge"
            )
        given[key] = number, each
    if not given:
        raise DataError(f"{path} holds no judgement; give a line for each judged answer or pair")
    new = [each for key, (_, each) in given.items() if key not in before]
    judges = tuple(dict.fromkeys(judge for _, judge in given))
    made = _write(store.root, new) if new else None
    return Imported(made, len(new), len(given) - len(new), judges)


def _write(root: Path, new: Sequence[Judgement]) -> Path:
    text = "".join(sorted(each.line for each in new))
    path = root / JUDGEMENTS / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    refuse_outside(root, path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path


def _lines(path: Path) -> Iterator[tuple[int, Judgement]]:
    """Yield the judgements of a file with the numbers of their lines."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: not readable as text: {cause}; give a .jsonl file") from None
    # As in any text file; other breaks, such as U+2028, may stand in a prompt.
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            yield number, validate(Judgement, _judged(parse_rows(line)), place)
        except ConfigError as error:
            raise DataError(str(error)) from None
        except ValueError as error:
            raise DataError(
                f"{place}: not a JSON object: {error}; every line is one judgement"
            ) from None


def _judged(row: Any) -> Any:
    """Return a line without the fields of its question."""
    if not isinstance(row, dict):
        return row
    return {name: value for name, value in row.items() if name not in QUESTION}


def _items(store: Store) -> dict[str, str]:
    """Return for the code of every stored answer what it answers."""
    found: dict[str, str] = {}
    for record in store.records():
        if not isinstance(record, Record):
            continue
        for split in answered_splits(record):
            table = _predictions(store, record, split)
            if table is None or TEXT not in table.column_names:
                continue
            task = record.cell.task_of(split).name
            names = [f"row {each} of {task}" for each in table["example_id"].to_pylist()]
            found |= dict(zip(codes(record.cell, split, table), names, strict=True))
    return found


def _predictions(store: Store, record: Record, split: str) -> pa.Table | None:
    try:
        return store.predictions(record.run, split)
    except BenchError:
        return None  # damaged; reports say so


def _require_known(place: str, each: Judgement, items: dict[str, str], root: Path) -> None:
    """Refuse a judgement of what no run of the folder has answered.

    Raises:
        DataError: naming the place.
    """
    if strays := [code for code in each.codes if code not in items]:
        raise DataError(
            f"{place}: field 'id': {strays[0]!r} is the code of no answer in {root}; allowed: the "
            "ids of 'gapbench export-answers' on that folder; give the folder that the answers "
            "came from"
        )
    if len(asked := {items[code] for code in each.codes}) > 1:
        raise DataError(
            f"{place}: field 'id': {each.id!r} pairs answers to {' and '.join(sorted(asked))}; "
            "allowed: pairs of one row; leave ids as they were exported"
        )


def _said(judgement: Judgement) -> str:
    return repr(judgement.preference if judgement.pair else judgement.score)
