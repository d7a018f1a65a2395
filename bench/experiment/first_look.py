"""A readable first look at a file of rows: its content, and its oddities.

Nothing here is refused. Most reading errors show as a text that differs from all
others: rows joined by a quote that never closed, a table with tabs read as one column, text in
another encoding.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gapbench.bench.data.rows import linearised
from gapbench.bench.tasks.kinds.regression import scale_of

_SHOWN_ROWS, _SHOWN_CLASSES, _SHOWN_CHARACTERS = 3, 12, 60
_SPREADS = 5.0  # spreads of the log-length around its median beyond which a text is odd
_LEAST_SPREAD = 0.2  # texts of similar length may differ by a factor of e without being odd
_FEW = 0.05  # share of rows up to which line breaks are an exception
_MISSING = {"nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "nil", "none"}
# Control characters, and what UTF-8 becomes when it is read as another encoding, such as Ã©.
_MISREAD = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]|[ÂÃ][\xa0-\xbf]|â€")


def lines(
    path: Path,
    table: Mapping[str, Sequence[Any]],
    texts: Sequence[str],
    label: str,
    *,
    values: bool = False,
) -> str:
    """Return the size of a file, its first rows, its classes and its oddities, as lines.

    Args:
        path: path of the file.
        table: columns of the file; those in ``texts`` hold text.
        texts: names of the columns that a model reads.
        label: name of the column that it predicts.
        values: whether the labels are values, and no classes.
    """
    labels = table[label]
    shown = [f"{path}: {len(labels)} rows with columns {', '.join(table)}"]
    for row in range(min(_SHOWN_ROWS, len(labels))):
        cells = ", ".join(f"{name} {_short(table[name][row])}" for name in (*texts, label))
        shown.append(f"  row {row}: {cells}")
    counts = Counter(str(value).strip() for value in labels)
    if len(counts) <= _SHOWN_CLASSES:
        shown.append("  classes: " + ", ".join(f"{name} {n}" for name, n in counts.most_common()))
        padded = sum(isinstance(value, str) and value != value.strip() for value in labels)
        if padded:
            shown.append(f"  odd: {padded} labels have blanks around them, which do not count")
        shown += [f"  odd: {what}" for what in _alike([*counts])]
    shown += [
        f"  odd: label {name!r}, of {n} row{'' if n == 1 else 's'}, is how programs write a "
        "missing value; it counts as any other here, so remove these rows if they have no label"
        for name, n in counts.items()
        if name.casefold() in _MISSING
    ]
    if values:
        shown += [f"  odd: column {label!r}: {what}" for what in _far(labels)]
    headers = [row for row, value in enumerate(labels) if value == label]
    if headers:
        shown.append(f"  odd: row {headers[0]} repeats the names of the columns; remove such rows")
    shown += [
        f"  odd: {what}"
        for what in _contradictions(table, texts, label, "value" if values else "label")
    ]
    for name in texts:
        shown += [f"  odd: column {name!r}: {what}" for what in _oddities(table[name])]
    return "\n".join(shown)


def _contradictions(
    table: Mapping[str, Sequence[Any]], texts: Sequence[str], column: str, noun: str
) -> Iterator[str]:
    """Yield a sentence if rows with the same texts have different labels, or different values."""
    labels = table[column]
    first: dict[tuple[str, ...], int] = {}
    pairs = []
    for row, label in enumerate(labels):
        earlier = first.setdefault(tuple(str(table[name][row]).strip() for name in texts), row)
        if str(labels[earlier]).strip() != str(label).strip():
            pairs.append((earlier, row))
    if pairs:
        (one, other), count = pairs[0], len(pairs)
        what = (
            "row has the texts of an earlier row"
            if count == 1
            else "rows have texts of earlier rows"
        )
        yield (
            f"{count} {what} but another {noun}, as row {other} ({_short(labels[other])}) and row "
            f"{one} ({_short(labels[one])}); no model can predict both"
        )


def _far(values: Sequence[Any]) -> Iterator[str]:
    """Yield a sentence if numbers to predict are far from what a new head gives and learns."""
    if (found := scale_of(values)) is not None:
        yield (
            f"values are {found[0]:g} on average, with a standard deviation of {found[1]:g}; "
            "models learn them from there in that unit (field 'scale' of the task)"
        )


def _oddities(values: Sequence[Any]) -> Iterator[str]:
    """Yield a sentence for each way in which some texts differ from the others."""
    texts = [value if isinstance(value, str) else "" for value in map(linearised, values)]
    lengths = np.array([len(text) for text in texts])
    breaks = [row for row, text in enumerate(texts) if re.search(r"[\r\n]", text.strip())]
    found = {
        f"far longer than the others, of which half have at most {np.median(lengths):.0f} "
        "characters": _far_longer(lengths),
        "with a tab inside": [row for row, text in enumerate(texts) if "\t" in text],
        "with a line break inside": breaks if len(breaks) <= _FEW * len(texts) else [],
        "without any text": [row for row, text in enumerate(texts) if not text.strip()],
        "with characters of a wrong encoding": [
            row for row, text in enumerate(texts) if _MISREAD.search(text)
        ],
    }
    for what, rows in found.items():
        if rows:
            first = f"row {rows[0]}: {_short(texts[rows[0]])} ({lengths[rows[0]]} characters)"
            yield f"{len(rows)} {'text' if len(rows) == 1 else 'texts'} {what}, as in {first}"


def _far_longer(lengths: "np.ndarray[Any, Any]") -> list[int]:
    """Return the rows with texts much longer than the spread of the others."""
    logs = np.log(np.maximum(lengths, 1))
    middle = np.median(logs)
    spread = max(_LEAST_SPREAD, 1.4826 * float(np.median(np.abs(logs - middle))))
    return [int(row) for row in np.flatnonzero(logs > middle + _SPREADS * spread)]


def _alike(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for classes that are easily mistaken for one."""
    same: dict[str, list[str]] = {}
    for name in sorted(names):
        same.setdefault(_skeleton(name), []).append(name)
    for group in same.values():
        if len(group) > 1:
            names_of = ", ".join(map(repr, group))
            yield f"classes {names_of} look alike, and stay {len(group)} classes; make them equal"


def other_spelling(names: Collection[str], others: Collection[str]) -> tuple[str, str] | None:
    """Return a name of one file, and what another file seems to call it; None if there is none."""
    only = {_skeleton(name): name for name in sorted({*others} - {*names})}
    found = ((name, only.get(_skeleton(name))) for name in sorted({*names}))
    return next(((name, other) for name, other in found if other is not None), None)


def _skeleton(name: str) -> str:
    """Return a name without characters that have several common spellings."""
    if whole := re.fullmatch(r"0*(\d+)(?:\.0+)?", name.strip()):
        name = whole[1]
    plain = unicodedata.normalize("NFKC", name).casefold()
    seen = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    # A hyphen joins words; after a blank, or at an end, it is a sign.
    word = re.sub(r"(?<=\w)(?:[\s_]+|-)(?=\w)", " ", seen.strip(" _"))
    return {"1": "true", "0": "false"}.get(word, word)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
