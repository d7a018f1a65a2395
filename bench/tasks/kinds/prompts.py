"""Base of generation and choice: prompts with continuations, scored token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.head import LANGUAGE_MODEL, HeadType
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import BackboneError, DataError
from gapbench.bench.data.encoded import Arrays
from gapbench.bench.data.rows import Table, text_column
from gapbench.bench.tasks.kinds.input_tokens import STRUCTURE, require_tokens

if TYPE_CHECKING:
    from gapbench.bench.models.backbone import Reader

_ROWS_AT_ONCE = 1000
_BEGUN = 2  # tokens that the decoder of an encoder-decoder may begin with; see its module in models


PromptedT = TypeVar("PromptedT", bound="PromptedTask")


class PromptedTask(Task):
    """A task that a language model reads as a prompt and answers in tokens."""

    head: ClassVar[HeadType] = LANGUAGE_MODEL
    prompted: ClassVar[bool] = True

    prompt: str | None = Field(
        default=None,
        description="the input with each {column} filled in; None: the text columns, one per line",
    )

    @property
    def decoding(self) -> Decoding | None:
        """How texts are decoded after a prompt; None if none are."""
        return None

    @property
    def written(self) -> int | None:
        """Largest number of tokens decoded after a prompt; None if none are."""
        return None if self.decoding is None else self.decoding.max_new_tokens

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if self.selection_metric.measures == "texts":
            raise ValueError(
                f"field 'checkpoint_metric' must not need decoded texts, as {self.selection!r} "
                "does; set it to perplexity or token_accuracy"
            )
        return self

    @model_validator(mode="after")
    def _check_prompt(self) -> Self:
        require_plain("prompt", self.prompt or "", self.prompt_columns)
        return self

    @property
    def prompt_columns(self) -> tuple[str, ...]:
        """Names that the prompt may fill in."""
        return self.text

    def fill(self, texts: Sequence[str]) -> str:
        """Return the prompt for the text columns of one row."""
        if self.prompt is None:
            return "\n".join(texts)
        return self.prompt.format(**dict(zip(self.text, texts, strict=True)))

    def prompts(self, place: str, table: Table) -> list[str]:
        """Return the prompt of every row.

        Raises:
            DataError: if a text column is missing, or does not hold text.
        """
        columns = [text_column(place, table, name) for name in self.text]
        return [self.fill(texts) for texts in zip(*columns, strict=True)]


def require_plain(field: str, text: str, columns: Sequence[str] | None) -> list[str]:
    """Return the names in a text with {column}, which may be nothing but columns.

    A format could also ask for attributes, or for gigabytes.

    Args:
        field: name of the text in messages.
        text: text with columns to fill in.
        columns: allowed columns; None: any.

    Raises:
        ValueError: if the text is no such format.
    """
    way_out = "write {column}, and {{ for a brace"
    known = "" if columns is None else f" does not fit the columns {list(columns)}"
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"field {field!r}{known}: {error}; {way_out}") from None
    for _, name, form, conversion in parts:
        plain = name is None or (name.isidentifier() if columns is None else name in columns)
        if not plain or form or conversion:
            raise ValueError(
                f"field {field!r}{known}: {name!r} is not one of them, or has a format; {way_out}"
            )
    return [name for _, name, _, _ in parts if name is not None]


def encode_pairs(
    task: PromptedTask,
    place: str,
    examples: Sequence[Sequence[tuple[str, str]]],
    numbers: NDArray[np.int64],
    reader: Reader,
) -> Arrays:
    """Tokenise the prompts of every example with their continuations.

    A sequence is the tokenizer's first token, if its texts begin with one, the prompt, the
    continuation after a space, and the end-of-text token if texts are generated. For an
    encoder-decoder, prompt and continuation are texts of their own, and what the tokenizer puts
    behind a text ends the prompt. Prompts that do not fit are cut at their beginning; continuations
    never are.

    Args:
        task: task that sets the room for decoded tokens.
        place: name of the split in messages.
        examples: pairs of prompt and continuation, at least one each.
        numbers: row number of each example in the split.
        reader: tokeniser and window of the backbone.

    Raises:
        DataError: if a continuation, or a token before it, does not fit the window.
    """
    limits = Limits.of(task, reader)
    ending = _ending(task, reader.tokenizer)
    counts = [len(pairs) for pairs in examples]
    flat = [pair for pairs in examples for pair in pairs]
    owners = np.repeat(numbers, counts)
    tokens: list[NDArray[np.int32]] = []
    prompts: list[int] = []
    cut: list[bool] = []
    given: list[int] = []
    for sequence, (prompt, target) in enumerate(_all_tokenised(flat, reader)):
        where = f"{place}, row {owners[sequence]}, target {flat[sequence][1][:60]!r}"
        given.append(len(limits.first) + len(prompt))
        _require_text(where, target, reader.tokenizer)
        target += ending
        kept = limits.kept(where, prompt + limits.last, target) if given[-1] else []
        tokens.append(np.array(kept + target, dtype=np.int32))
        prompts.append(len(kept))
        cut.append(len(kept) < given[-1] + len(limits.last))
    begins = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    require_tokens(place, "prompts", numbers, np.minimum.reduceat(given, begins[:-1]))
    return {
        "input_ids": np.concatenate(tokens),
        "offsets": np.cumsum([0, *map(len, tokens)], dtype=np.int64),
        "sequence_offsets": begins,
        "prompts": np.array(prompts, dtype=np.int64),
        "characters": np.array([len(target) for _, target in flat], dtype=np.int64),
        "cut": np.logical_or.reduceat(cut, begins[:-1]),
    }


@dataclass(frozen=True)
class Limits:
    """The largest numbers of tokens.

    Attributes:
        whole: limit for a sequence; where an encoder reads the prompt, for what follows it.
        given: limit for a prompt, which leaves room for decoded tokens.
        window: number of tokens that the backbone can read, for messages.
        first: list with the token that begins every text; empty if there is none.
        last: tokens that end a prompt; empty for decoders.
        apart: whether an encoder reads the prompt, which then takes no room from what follows.
    """

    whole: int
    given: int
    window: int
    first: list[int]
    last: list[int]
    apart: bool

    @classmethod
    def of(cls, task: PromptedTask, reader: Reader) -> Limits:
        """Return the limits of a task for a backbone.

        Raises:
            DataError: if the longest text leaves no room for a prompt.
        """
        apart = reader.encoder_decoder
        given = whole = min(task.max_length, reader.window)
        first, last = _around(reader)
        if apart and reader.positions is not None:
            whole = min(whole, reader.positions - _BEGUN)
        if task.written is not None and reader.positions is not None:
            room = reader.positions - task.written
            given = given if apart else min(whole, room)
            fits = room >= _BEGUN if apart else given > len(first)
            if not fits:
                raise DataError(
                    f"task {task.name!r}: field '{task.kind}.decoding.max_new_tokens' is "
                    f"{task.written}, but the backbone has {reader.positions} positions, "
                    "including those of what comes before; lower it, or give another backbone"
                )
        return cls(whole, given, reader.window, first, last, apart)

    def end_of(self, prompt: list[int], first: list[int]) -> list[int]:
        """Return a prompt after its first token, cut at its beginning to the room there is."""
        return first + prompt[-(self.given - len(first)) :]

    def kept(self, where: str, prompt: list[int], target: list[int]) -> list[int]:
        """Return a prompt with its first token, cut where it does not fit before its target.

        Args:
            where: name of prompt and target in messages.
            prompt: token ids without special tokens.
            target: token ids, with the token that ends the text.

        Raises:
            DataError: if there is no target, or no room for it.
        """
        if not target:
            raise DataError(
                f"{where}: it has no tokens: the tokenizer drops its characters; remove the row, "
                "or give another backbone"
            )
        room = self.whole - len(target)
        left = (self.given if self.apart else min(room, self.given)) - len(self.first)
        if room < 0 or left < len(self.last) or not (self.first or left > len(self.last)):
            raise DataError(
                f"{where}: it has {len(target)} tokens, but a sequence may have {self.whole}, with "
                "at least one before the target; raise 'max_length' (the backbone's window is "
                f"{self.window}), or remove the row"
            )
        return self.first + (prompt[-left:] if left else [])


def asked(task: PromptedTask, prompts: Sequence[str], reader: Reader) -> list[list[int]]:
    """Return the tokens of each prompt that a text is written after; none depends on a target."""
    limits = Limits.of(task, reader)
    tokens = tokenised_alone(prompts, reader.tokenizer)
    return [limits.end_of(each + limits.last, limits.first) for each in tokens]


def first_token(tokenizer: Any) -> list[int]:
    """Return a list with the token that begins every text; empty if there is none."""
    made = tokenizer("a")["input_ids"]
    return [made[0]] if made and made[0] == tokenizer.bos_token_id else []


def _around(reader: Reader) -> tuple[list[int], list[int]]:
    """Return the tokens before a prompt and, where an encoder reads it, those after it."""
    if not reader.encoder_decoder:
        return first_token(reader.tokenizer), []
    whole, text = (
        reader.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False)
    )
    begins = (n for n in range(len(whole)) if whole[n : n + len(text)] == text)
    if (before := next(begins, None)) is None:
        raise BackboneError(
            f"backbone {reader.tokenizer.name_or_path!r}: its tokenizer reads a text otherwise "
            "with special tokens around it, so that they are not known; give another"
        )
    return whole[:before], whole[before + len(text) :]


def _ending(task: PromptedTask, tokenizer: Any) -> list[int]:
    """Return a list with the token that ends a generated text; empty for choices.

    Raises:
        BackboneError: if there is no such token.
    """
    if task.written is not None and tokenizer.eos_token_id is None:
        raise BackboneError(
            f"backbone {tokenizer.name_or_path!r}: its tokenizer has no end-of-text token, which "
            f"task {task.name!r} needs; name one of its tokens as 'eos_token' in its "
            "tokenizer_config.json"
        )
    return [] if task.written is None else [tokenizer.eos_token_id]


def _all_tokenised(
    pairs: Sequence[tuple[str, str]], reader: Reader
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield prompt and continuation tokens, of a decoder as tokenised in the joined text."""
    tokenizer = reader.tokenizer
    alone = tokenised_alone([prompt for prompt, _ in pairs], tokenizer)
    if reader.encoder_decoder:
        targets = tokenised_alone([target for _, target in pairs], tokenizer, answers=True)
        yield from zip(alone, targets, strict=True)
        return
    whole = tokenised_alone([f"{prompt} {target}" for prompt, target in pairs], tokenizer)
    for given, ids in zip(alone, whole, strict=True):
        yield given, ids[boundary(ids, given, tokenizer) :]


def _require_text(where: str, target: Sequence[int], tokenizer: Any) -> None:
    """Refuse a continuation that ends or begins inside of itself.

    Raises:
        DataError: if it holds a token that means more than its characters.
    """
    marks = {getattr(tokenizer, f"{name}_id", None) for name in STRUCTURE}
    if tokenizer.unk_token_id != tokenizer.eos_token_id:
        marks -= {tokenizer.unk_token_id}  # which pads, for some tokenizers
    mark = next((token for token in target if token in marks), None)
    if mark is not None:
        raise DataError(
            f"{where}: it holds {tokenizer.convert_ids_to_tokens(mark)!r}, which the backbone's "
            "tokenizer reads as a special token; write it differently, or remove the row"
        )


def tokenised_alone(
    texts: Sequence[str], tokenizer: Any, *, answers: bool = False
) -> Iterator[list[int]]:
    """Yield the tokens of each text, without those that the tokenizer puts around a text.

    Args:
        texts: texts of any number.
        tokenizer: of the backbone.
        answers: whether they are what a decoder writes, for which some have other words.
    """
    field = "text_target" if answers else "text"
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        part = list(texts[start : start + _ROWS_AT_ONCE])
        # Not verbose: texts that are too long are cut or refused elsewhere.
        yield from tokenizer(**{field: part}, add_special_tokens=False, verbose=False)["input_ids"]


def boundary(ids: list[int], given: list[int], tokenizer: Any) -> int:
    """Return the index in ``ids`` where the text of the tokens ``given`` ends.

    It is found by decoding tokens, since a token may join the end of the prompt with the next
    space, and character offsets are wrong if a tokenizer drops characters.
    """
    if ids[: len(given)] == given:
        return len(given)
    size = len(_text(given, tokenizer))
    pairs = enumerate(zip(ids, given, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), 0)
    ends = (n for n in range(same, len(ids)) if len(_text(ids[: n + 1], tokenizer)) > size)
    return next(ends, len(ids))


def _text(ids: list[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).rstrip()
