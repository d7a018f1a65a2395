"""Requirements on the tokens of inputs, for every kind of task.

An input needs a token to predict from, and only tokens that the backbone knows. Words in a text
that look like a special token, such as ``</s>`` in HTML, are read as text, because models count end
tokens or read their answer at one. Prompts are an exception, so that they can contain chat markers;
texts to write are refused where they hold one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import Arrays

if TYPE_CHECKING:
    from gapbench.bench.models.backbone import Reader

_ROWS_AT_ONCE = 1000
STRUCTURE = ("bos_token", "eos_token", "pad_token", "cls_token", "sep_token")
"""Special tokens that say where texts begin and end, by their names in a tokenizer."""


def require_tokens(
    place: str, what: str, numbers: NDArray[np.int64], sizes: Sequence[int] | NDArray[Any]
) -> None:
    """Refuse inputs without a token: their predictions would depend on their neighbours.

    Args:
        place: name of the split in messages.
        what: name of the inputs in messages.
        numbers: row number of each input.
        sizes: number of tokens of each input from which the model predicts.

    Raises:
        DataError: naming their number and the first.
    """
    empty = np.flatnonzero(np.asarray(sizes) == 0)
    if len(empty):
        raise DataError(
            f"{place}: {len(empty)} of {len(numbers)} {what} have no tokens, the first in row "
            f"{numbers[empty[0]]}: the backbone's tokenizer puts none before a text, so there "
            "is nothing to predict from; give them some text, remove the rows, or give a "
            "backbone that begins texts with a token"
        )


def require_known(place: str, arrays: Arrays, reader: Reader) -> None:
    """Refuse token ids and segments for which the backbone has no embedding.

    Raises:
        DataError: naming the token, its id, and the size of the embedding.
    """
    top = int(arrays["input_ids"].max())
    if reader.vocabulary is not None and top >= reader.vocabulary:
        raise DataError(
            f"{place}: the token {reader.tokenizer.convert_ids_to_tokens(top)!r} has the id {top}, "
            f"but the backbone's embedding has {reader.vocabulary} rows; give the tokenizer that "
            "it was trained with, or save the model again after "
            "resize_token_embeddings(len(tokenizer))"
        )
    segment = int(arrays["token_type_ids"].max()) if "token_type_ids" in arrays else 0
    if reader.segments is not None and segment >= reader.segments:
        raise DataError(
            f"{place}: the tokenizer marks texts with the segments 0 to {segment}, but the "
            f"backbone has {reader.segments} ('type_vocab_size'); remove 'token_type_ids' from "
            "'model_input_names' in its tokenizer_config.json, or give its own tokenizer"
        )


def tokenised(
    place: str,
    numbers: NDArray[np.int64],
    columns: Sequence[Sequence[str]],
    tokenizer: Any,
    **settings: Any,
) -> Iterator[tuple[slice, bool, Any]]:
    """Tokenise rows in groups, and read special tokens in their texts as plain text.

    Args:
        place: name of the split in messages.
        numbers: number of each row, (n,).
        columns: columns of texts, each of length n.
        tokenizer: tokenizer of the backbone.
        settings: settings of the tokenizer.

    Yields:
        A group of rows; whether their texts hold special tokens; the tokenizer's output for them.

    Raises:
        DataError: if the tokenizer still makes a special token of a text.
    """
    for rows, special in _stretches(columns, tokenizer):
        plain = {"split_special_tokens": True, "return_special_tokens_mask": True}
        made = tokenizer(
            *(texts[rows] for texts in columns), **settings, **(plain if special else {})
        )
        if special:
            _require_plain(place, numbers[rows], made, tokenizer)
        yield rows, special, made


def _stretches(columns: Sequence[Sequence[str]], tokenizer: Any) -> Iterator[tuple[slice, bool]]:
    """Yield neighbouring rows, and whether their texts hold special tokens."""
    words = {word for name in STRUCTURE if (word := getattr(tokenizer, name, None))}
    holds = (
        any(word in text for text in row for word in words) for row in zip(*columns, strict=True)
    )
    start = 0
    for special, group in groupby(holds):
        stop = start + len(list(group))
        for first in range(start, stop, _ROWS_AT_ONCE):
            yield slice(first, min(first + _ROWS_AT_ONCE, stop)), special
        start = stop


def _require_plain(place: str, numbers: NDArray[np.int64], made: Any, tokenizer: Any) -> None:
    special = {getattr(tokenizer, f"{name}_id", None) for name in STRUCTURE}
    owners = made.get("overflow_to_sample_mapping", range(len(numbers)))
    for owner, ids, added in zip(
        owners, made["input_ids"], made["special_tokens_mask"], strict=True
    ):
        own = next(
            (i for i, mark in zip(ids, added, strict=True) if i in special and not mark), None
        )
        if own is not None:
            raise DataError(
                f"{place}, row {numbers[owner]}: a text holds "
                f"{tokenizer.convert_ids_to_tokens(own)!r}, which the backbone's tokenizer reads "
                "as a special token even in plain text; write it differently, or remove the row"
            )
