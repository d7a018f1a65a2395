"""What must be true of the tokens of inputs, whatever the kind of task.

An input has a token to predict from, and no token that the backbone does not have. Words in a text
that look like a special token, such as ``</s>`` in HTML, are text: models count end tokens, or read
their answer at one. Prompts are an exception, so that they can have the marks of a chat.
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
_STRUCTURE = ("bos_token", "eos_token", "pad_token", "cls_token", "sep_token")


def require_tokens(
    place: str, what: str, numbers: NDArray[np.int64], sizes: Sequence[int] | NDArray[Any]
) -> None:
    """Refuse inputs without a token: what a model says of them depends on their neighbours.

    Args:
        place: how messages name the split.
        what: how they name the inputs.
        numbers: of each input's row.
        sizes: of each input, tokens from which the model predicts.

    Raises:
        DataError: naming how many there are, and the first.
    """
    empty = np.flatnonzero(np.asarray(sizes) == 0)
    if len(empty):
        raise DataError(
            f"{place}: {len(empty)} of {len(numbers)} {what} have no tokens, the first in row "
            f"{numbers[empty[0]]}: the backbone's tokenizer puts none before a text, so that there "
            "is nothing to predict from; give them some text, take out the rows, or give a "
            "backbone whose texts begin with a token"
        )


def require_known(place: str, arrays: Arrays, reader: Reader) -> None:
    """Refuse token ids and segments for which the backbone has no embedding.

    Raises:
        DataError: naming the token, its id, and what the backbone has.
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
            f"backbone has {reader.segments} ('type_vocab_size'); take 'token_type_ids' out of "
            "'model_input_names' in its tokenizer_config.json, or give its own tokenizer"
        )


def tokenised(
    place: str,
    numbers: NDArray[np.int64],
    columns: Sequence[Sequence[str]],
    tokenizer: Any,
    **settings: Any,
) -> Iterator[tuple[slice, bool, Any]]:
    """Tokenise neighbouring rows together, with special tokens in their texts as plain text.

    Args:
        place: how messages name the split.
        numbers: of each row, (n,).
        columns: texts, each of length n.
        tokenizer: of the backbone.
        settings: for the tokenizer.

    Yields:
        Some rows; whether their texts hold special tokens; what the tokenizer returns for them.

    Raises:
        DataError: if the tokenizer makes a special token of a text even so.
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
    words = {word for name in _STRUCTURE if (word := getattr(tokenizer, name, None))}
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
    special = {getattr(tokenizer, f"{name}_id", None) for name in _STRUCTURE}
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
                "as its own mark even as plain text; write it differently, or take out the row"
            )
