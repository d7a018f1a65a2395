"""Own rows as the suite of a race, or the reason why they cannot be advised on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from gapbench.bench.advice import arms as arms_of
from gapbench.bench.api.choices import ADVISED_METHODS, names
from gapbench.bench.api.progress import say
from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.core.files import replacing
from gapbench.bench.data import readers
from gapbench.bench.experiment import inferred_task, scaffold
from gapbench.bench.store.store import store_at

FEWEST_ROWS = 50
_COLUMNS = ("label", "target", "kind", "group")


@dataclass(frozen=True)
class OwnRows:
    """A user's own rows, ready for a race.

    Attributes:
        suite: the fields of their suite.
        fewest_epochs: epochs to which its runs may be shortened.
        leaked: number of rows of a test file whose texts are among the training rows too.
    """

    suite: Mapping[str, Any]
    fewest_epochs: float
    leaked: int


def own_rows(given: Mapping[str, Any]) -> OwnRows:
    """Return the rows that a call of `advise` names.

    Raises:
        ConfigError, DataError: if the rows cannot be advised on.
    """
    for name in _COLUMNS:
        if not isinstance(given[name], str | None):
            raise ConfigError(
                f"{name} is {given[name]!r}, which is no text; name the columns of the frame by "
                "texts, with frame.rename(columns=str)"
            )
    columns = inferred_task.Columns.of(
        names("text", given["text"]) or (),
        *(given[name] for name in _COLUMNS),
    )
    train = _file(given["source"], Path(given["results"]))
    test = None if given["test"] is None else Path(given["test"])
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", train.stem).lstrip("_.-") or "rows"
    found = inferred_task.infer(Path.cwd() / f"{name}.yaml", train, test, columns)
    texts = _texts(train, columns.text)
    known = set(texts)
    if len(known) < FEWEST_ROWS:
        raise DataError(
            f"{train}: {len(texts)} rows with {len(known)} different texts; fewer than "
            f"{FEWEST_ROWS} tell no settings apart, so there is nothing to advise; give more rows, "
            "or train plain LoRA with its defaults"
        )
    say(found.look, progress=given["progress"])
    leaked = 0 if test is None else sum(each in known for each in _texts(test, columns.text))
    if leaked:
        say(f"{test}: {leaked} rows have texts that are in {train} too", progress=given["progress"])
    backbone = None if given["backbone"] is None else str(given["backbone"])
    wanted = names("methods", given["methods"]) or ADVISED_METHODS
    suite = scaffold.suite_settings(found, backbone) | {
        "tasks": [found.task],
        "methods": list(dict.fromkeys([arms_of.REFERENCE, *wanted])),
    }
    return OwnRows(suite, suite["budget"]["epochs"] / 2, leaked)


def _file(source: Any, results: Path) -> Path:
    """Return the file of rows; a data frame is written to the results folder."""
    if not isinstance(source, pd.DataFrame):
        return Path(source)
    path = store_at(results).root / "rows.parquet"
    try:
        with replacing(path) as own:  # another call may read it
            source.to_parquet(own, index=False)
    except pa.ArrowException as error:
        raise DataError(
            f"the data frame cannot be stored: {error}; give each column values of one type"
        ) from None
    return path


def _texts(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the texts of each row; messages and other nested values as they are printed.

    Raises:
        DataError: naming a column in which half of the texts or more are empty.
    """
    table = readers.read(path, columns)
    for name in columns:
        empty = [row for row, value in enumerate(table[name]) if not str(value or "").strip()]
        if 2 * len(empty) >= len(table[name]):
            raise DataError(
                f"{path}: column {name!r} has no text in {len(empty)} of {len(table[name])} rows, "
                f"first in row {empty[0]}; name another column with --text, or remove these rows"
            )
    return list(zip(*(map(str, table[name]) for name in columns), strict=True))
