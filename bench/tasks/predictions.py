"""Files with the outputs of any system: texts, classes, values, or likelihoods of classes.

A file is checked against the examples to score and put into their order; `bench.tasks.score` scores
it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.data import readers
from gapbench.bench.data.rows import Table, choice_numbers, class_column, column, read_classes
from gapbench.bench.metrics import calibration
from gapbench.bench.store.record import Scores

COLUMN = "prediction"
_OWN_TEXT = "text"  # column of texts in stored predictions
_FEW = 10  # rows; a column of fewer numbers may seem to number them by chance
_EXACT = 2**53  # whole numbers below are exact as floats
_ABSENT = {"logit": -1e9, "prob": 0.0}  # for a missing choice

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Classes:
    """Predicted classes or choices, (n,), and values for all of them, (n, most), if given.

    Attributes:
        logits: logits of classes, or log-likelihoods of choices.
        probabilities: probabilities, if given instead of logits.
    """

    predicted: NDArray[np.int64]
    logits: Floats | None = None
    probabilities: Floats | None = None

    def calibration(self, targets: NDArray[Any]) -> Scores:
        """Return calibration without a temperature; empty if only classes are given."""
        if self.logits is not None:
            return dict(calibration.calibration_report(self.logits, targets, None))
        if self.probabilities is None:
            return {}
        return dict(calibration.errors(self.probabilities, targets))


@dataclass(frozen=True)
class Predictions:
    """A file of outputs, one per example.

    Every method raises `DataError` if the file is empty, unreadable, or has the wrong layout
    or number of outputs.

    Attributes:
        path: path of the file; its suffix is the format.
        size: number of examples.
        examples: description of the examples for messages, such as "630 inputs in refs.parquet".
        keys: columns of the references, one value per example. Columns that are in both files, such
            as an id, assign outputs to examples.
    """

    path: Path
    size: int
    examples: str
    keys: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def texts(self, ids: Sequence[Any] | None = None) -> list[str]:
        """Return one text per example.

        A ``.txt`` file holds one per line; a ``.json`` file holds a list, or SQuAD's mapping from
        ids to answers; any other file has a column ``prediction`` or ``text``.

        Args:
            ids: ids of the examples in order, None if they have none.
        """
        if readers.suffix(self.path) == ".txt":
            made = self._lines()
        elif readers.suffix(self.path) == ".json":
            made = self._of_json(ids)
        else:
            table = readers.read(self.path, (COLUMN, _OWN_TEXT, *self._text_keys))
            name = COLUMN if COLUMN in table else _OWN_TEXT
            made = self._column(self._in_order(table, name), name)
        self._check(len(made))
        for row, text in enumerate(made):
            if not isinstance(text, str):
                raise DataError(f"{self._place}, row {row}: found {text!r}, expected a text")
        return made

    def values(self) -> Floats:
        """Return one number per example, from the column ``prediction`` or ``logit_0``."""
        table = self._in_order(readers.read(self.path, self._text_keys))
        name = "logit_0" if COLUMN not in table and "logit_0" in table else COLUMN
        return self._numbers(table, [name])[:, 0]

    def classes(self, task: Task) -> Classes:
        """Return the class of each example, by the task's names or numbers of classes.

        They come from a column ``prediction``, or from ``logit_k`` or ``prob_k`` for every class.
        """
        table = self._in_order(read_classes(self.path, task, COLUMN, self._text_keys))
        every = np.ones((self.size, len(task.labels)), dtype=bool)
        made = self._likelihoods(table, every)
        if made is None:
            named = task.model_copy(update={"label": COLUMN})
            made = Classes(class_column(named, self._place, table))
        return made

    def choices(self, task: Task, sizes: NDArray[np.int64]) -> Classes:
        """Return the choice of each question, by the task's names or counted from 0.

        Columns are those of `classes`.

        Args:
            task: task that may name its choices.
            sizes: (n,) number of choices of each question.
        """
        table = self._in_order(read_classes(self.path, task, COLUMN, self._text_keys))
        made = self._likelihoods(table, np.arange(sizes.max()) < sizes[:, None])
        if made is not None:
            return made
        named = task.model_copy(update={"label": COLUMN})
        return Classes(choice_numbers(named, self._place, table, sizes.tolist()))

    def _likelihoods(self, table: Table, present: NDArray[np.bool_]) -> Classes | None:
        """Return the columns ``logit_k`` or ``prob_k``, None if only ``prediction`` is present."""
        for prefix, absent in _ABSENT.items():
            wanted = [f"{prefix}_{k}" for k in range(present.shape[1])]
            given = [name for name in table if name.startswith(f"{prefix}_")]
            if given and set(given) != set(wanted):
                raise DataError(
                    f"{self._place}: found columns {', '.join(given)}, but the task has "
                    f"{len(wanted)} classes or choices; give {wanted[0]} to {wanted[-1]}"
                )
            if given:
                numbers = np.where(present, self._numbers(table, wanted, present), absent)
                kind = {"logit": "logits", "prob": "probabilities"}[prefix]
                return Classes(numbers.argmax(axis=1), **{kind: numbers})
        if COLUMN not in table:
            raise self._no_column(
                table, f"{COLUMN!r}, logit_0, logit_1, ... or prob_0, prob_1, ..."
            )
        return None

    def _numbers(
        self, table: Table, names: Sequence[str], present: NDArray[np.bool_] | None = None
    ) -> Floats:
        """Return columns of numbers, (n, columns), finite wherever a value is required."""
        made = np.zeros((self.size, len(names)))
        for place, name in enumerate(names):
            for row, value in enumerate(self._column(table, name)):
                if present is not None and not present[row, place]:
                    continue
                number = _number(value)
                if number is None:
                    raise DataError(
                        f"{self._place}, row {row}: column {name!r} holds {value!r}, expected a "
                        "finite number"
                    )
                made[row, place] = number
        return made

    @property
    def _text_keys(self) -> list[str]:
        """Columns that are read as they are written: 01 and 1 are two ids."""
        return [name for name in self.keys if name != COLUMN]

    def _in_order(self, table: Table, *outputs: str) -> Table:
        """Return a table with its rows in the order of the examples.

        Columns shared with the references decide; without any, the order of the file is kept.

        Args:
            table: content of the file.
            outputs: names of output columns, which never decide the order.

        Raises:
            DataError: if the shared columns do not name every example once.
        """
        self._check(len(next(iter(table.values()), [])))
        likelihoods = tuple(f"{prefix}_" for prefix in _ABSENT)
        others = [
            name
            for name in table
            if name not in {COLUMN, *outputs} and not name.startswith(likelihoods)
        ]
        shared = [name for name in others if name in self.keys]
        if not shared:
            self._refuse_disorder(table, others)
            return table
        given, wanted = (
            list(zip(*(rows[name] for name in shared), strict=True)) for rows in (table, self.keys)
        )
        order = _places(given, wanted)
        if order is not None:
            return {name: [values[row] for row in order] for name, values in table.items()}
        given, wanted = ([tuple(map(_written, key)) for key in keys] for keys in (given, wanted))
        row = next(
            row for row, pair in enumerate(zip(given, wanted, strict=True)) if len({*pair}) > 1
        )
        raise DataError(
            f"{self._place}, row {row}: {', '.join(shared)} is {', '.join(given[row])[:60]!r}, but "
            f"{', '.join(wanted[row])[:60]!r} in the references, and the rows cannot be ordered by "
            "it; name every example of the references once, or remove the shared columns"
        )

    def _refuse_disorder(self, table: Table, names: Sequence[str]) -> None:
        """Refuse outputs that are taken in the order of the file, if a column denies that order."""
        known = {name.casefold(): name for name in self.keys}
        for name in names:
            if name.casefold() in known:
                raise DataError(
                    f"{self._place}: column {name!r} is {known[name.casefold()]!r} in the "
                    "references; give it the same name, so that it can order the rows, or remove it"
                )
            values = [value for value in table[name] if type(value) is int]
            rising = sorted(values)
            if len(values) < _FEW or values == rising:
                continue
            if rising in [list(range(k, k + self.size)) for k in (0, 1)]:
                raise DataError(
                    f"{self._place}: column {name!r} numbers the rows in another order, and "
                    "the references have no such column; sort the rows by it, or remove it"
                )

    def _column(self, table: Table, name: str) -> list[Any]:
        if name not in table:
            raise self._no_column(table, repr(COLUMN))
        return column(self._place, table, name)

    def _lines(self) -> list[Any]:
        text = self._read()
        lines = text.split("\n" if "\n" in text else "\r")
        # The final line break starts no new line; a blank line before it is an empty output.
        return [line.removesuffix("\r") for line in lines[: -1 if lines[-1] == "" else None]]

    def _of_json(self, ids: Sequence[Any] | None) -> list[Any]:
        try:
            made = readers.parse_rows(self._read())
        except ValueError as error:
            raise DataError(f"{self._place}: not valid JSON: {error}") from None
        if isinstance(made, list):
            return made
        if not isinstance(made, dict) or ids is None:
            raise DataError(
                f"{self._place}: expected a list of texts, or a mapping to them from the "
                "references' column 'id'"
            )
        names = [_written(name) for name in ids]  # JSON's own names are texts
        missing = [name for name in names if name not in made]
        if missing:
            raise DataError(
                f"{self._place}: {len(missing)} of {self.examples} have no answer; the first is "
                f"{missing[0]!r}; give one each, empty for none"
            )
        return [made[name] for name in names]

    def _read(self) -> str:
        try:
            return readers.read_text(self.path)
        except (OSError, ValueError) as error:
            raise DataError(f"{self._place}: not readable as text: {error}") from None

    def _check(self, found: int) -> None:
        if found != self.size:
            what = f"{found} outputs" if found else "it is empty"
            raise DataError(
                f"{self._place}: {what}, but there are {self.examples}; give one output per "
                "example, in their order"
            )

    @property
    def _place(self) -> str:
        return f"predictions {self.path}"

    def _no_column(self, table: Table, wanted: str) -> DataError:
        return DataError(
            f"{self._place}: no column {wanted}; columns present: {', '.join(table)}; rename one"
        )


_Keys = Sequence[tuple[Any, ...]]


def _places(given: _Keys, wanted: _Keys) -> Sequence[int] | None:
    """Return the row of each wanted key, None if the given keys do not name every one once.

    Keys count as written. If that fails, spellings of a number or a truth value are one key, such
    as 3 and 3.0, unless two keys of a file become one.
    """
    written = [[tuple(map(_written, key)) for key in keys] for keys in (given, wanted)]
    spelt = [[tuple(map(_spelling, key)) for key in keys] for keys in (given, wanted)]
    forms = [written]
    if [len({*keys}) for keys in spelt] == [len({*keys}) for keys in written]:
        forms.append(spelt)
    for ours, theirs in forms:
        if ours == theirs:
            return range(len(ours))
        rows = {key: row for row, key in enumerate(ours)}
        if rows.keys() == {*theirs} and len(rows) == len(ours) == len(theirs):
            return [rows[key] for key in theirs]
    return None


def _written(value: Any) -> str:
    """Return a value as text; nothing and NaN are empty, as in files without types."""
    return "" if value is None or value != value else str(value).strip()


def _spelling(value: Any) -> str:
    """Return a value in a form that numbers and truth values share across file formats."""
    text = _written(value)
    number = None if re.fullmatch(r"[-+]?\d+", text, re.ASCII) else _number(text)
    if number is not None and number.is_integer() and abs(number) < _EXACT:
        return str(int(number))
    return text.casefold()


def _number(value: Any) -> float | None:
    """Return a finite number, possibly given as text, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) and not isinstance(value, bool) else None
