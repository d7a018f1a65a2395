"""Files with the outputs of any system: texts, classes, values, or likelihoods of classes.

A file is checked against the examples to score and put into their order; `bench.tasks.score` scores
it.
"""

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
            report = calibration.calibration_report(self.logits, targets, 1.0)
            return {name: value for name, value in report.items() if "_calibrated" not in name}
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
        return [name for name, values in self.keys.items() if isinstance(values[0], str)]

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
        shared = [name for name in table if name in self.keys and name not in {COLUMN, *outputs}]
        given, wanted = (
            list(zip(*([_key(value) for value in rows[name]] for name in shared), strict=True))
            for rows in (table, self.keys)
        )
        if given == wanted:
            return table
        places = {key: row for row, key in enumerate(given)}
        if set(places) == set(wanted) and len(places) == self.size:
            order = [places[key] for key in wanted]
            return {name: [values[row] for row in order] for name, values in table.items()}
        row = next(
            row for row, pair in enumerate(zip(given, wanted, strict=True)) if len({*pair}) > 1
        )
        raise DataError(
            f"{self._place}, row {row}: {', '.join(shared)} is {', '.join(given[row])[:60]!r}, but "
            f"{', '.join(wanted[row])[:60]!r} in the references, and the rows cannot be ordered by "
            "it; name every example of the references once, or remove the shared columns"
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
        missing = [name for name in ids if name not in made]
        if missing:
            raise DataError(
                f"{self._place}: {len(missing)} of {self.examples} have no answer; the first is "
                f"{missing[0]!r}; give one each, empty for none"
            )
        return [made[name] for name in ids]

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


def _key(value: Any) -> str:
    """Return a value in a form that can be compared across file formats."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip()


def _number(value: Any) -> float | None:
    """Return a finite number, possibly given as text, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if np.isfinite(number) and not isinstance(value, bool) else None
