"""What generation and choice share: prompts with continuations, scored token by token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.backbone import Reader
from bench.errors import DataError
from bench.kinds.base import Outputs
from bench.method import AnyMethod, TrainState
from bench.probe import Probe, forward
from bench.splits import Arrays
from bench.tasks import Task

_ROWS_AT_ONCE = 1000


def encode_pairs(
    task: Task, pairs: Sequence[tuple[str, str]], reader: Reader, *, ends: bool
) -> Arrays:
    """Tokenise prompts with their continuations.

    A sequence is the tokenizer's first token, if its texts begin with one, the prompt, the
    continuation after a space, and the end-of-text token if ``ends``. Prompts that do not fit are
    cut at their beginning; continuations never are.

    Raises:
        DataError: if a continuation does not fit the window.
    """
    limit = min(task.max_length, reader.window)
    tokens: list[NDArray[np.int32]] = []
    prompts: list[int] = []
    for start in range(0, len(pairs), _ROWS_AT_ONCE):
        for prompt, target in _tokenised(pairs[start : start + _ROWS_AT_ONCE], reader.tokenizer):
            target += [reader.tokenizer.eos_token_id] * ends
            kept = fitted(prompt, limit - len(target), reader.tokenizer)
            if kept is None:
                raise DataError(
                    f"task {task.name!r}: the target of row {len(prompts)} has {len(target)} "
                    f"tokens, but a sequence may have {limit}; raise 'max_length' (the backbone's "
                    f"window is {reader.window}), or take out the row"
                )
            tokens.append(np.array(kept + target, dtype=np.int32))
            prompts.append(len(kept))
    lengths = [len(sequence) for sequence in tokens]
    return {
        "input_ids": np.concatenate(tokens),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "prompts": np.array(prompts, dtype=np.int64),
        "characters": np.array([len(target) for _, target in pairs], dtype=np.int64),
    }


def fitted(prompt: list[int], room: int, tokenizer: Any) -> list[int] | None:
    """Return a prompt with its first token, cut to at most ``room``; None if nothing fits.

    Args:
        prompt: token ids without special tokens.
        room: most tokens that it may have.
        tokenizer: tells the first token of a text, if there is one.
    """
    first = first_token(tokenizer)
    left = room - len(first)
    if left < 0 or not (first or (prompt and left)):
        return None
    return first + (prompt[-left:] if left else [])


def first_token(tokenizer: Any) -> list[int]:
    """Return the token that the tokenizer begins every text with, in a list; empty if none."""
    made = tokenizer("a")["input_ids"]
    return [made[0]] if made and made[0] == tokenizer.bos_token_id else []


def _tokenised(
    pairs: Sequence[tuple[str, str]], tokenizer: Any
) -> list[tuple[list[int], list[int]]]:
    """Return prompt and continuation tokens, as they are in the text of both together."""
    prompts = [prompt for prompt, _ in pairs]
    whole = tokenizer(
        [f"{prompt} {target}" for prompt, target in pairs],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_token_type_ids=False,
    )
    alone = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    return [
        (given, [t for t, (_, end) in zip(ids, places, strict=True) if end > len(prompt)])
        for prompt, given, ids, places in zip(
            prompts, alone, whole["input_ids"], whole["offset_mapping"], strict=True
        )
    ]


def token_outputs(method: AnyMethod, state: TrainState, probe: Probe) -> Outputs:
    """Return what every active run says of each target token; (runs, tokens), float64.

    The tokens are those of ``probe.sequences``, one sequence after the other: ``loss`` in nats,
    ``confidence`` of the likeliest token, ``correct`` if that is the target, and ``brier``, the
    squared error summed over the vocabulary.
    """
    counts = probe.split.decision_counts[probe.sequences]
    starts = np.cumsum(counts) - counts
    shape = (state.axis.size, int(counts.sum()))
    made: Outputs = {name: np.empty(shape) for name in ("loss", "confidence", "brier")}
    made["correct"] = np.empty(shape, dtype=bool)
    vocabulary = int(state.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    for places, batch, logits in forward(method, state, probe, vocabulary):
        present = np.arange(logits.shape[2]) < counts[places][:, None]
        where = (starts[places][:, None] + np.arange(logits.shape[2]))[present]
        targets = batch.targets.view(logits.shape[:3])[0]
        for run, each in enumerate(logits):
            for name, values in _of_tokens(each, targets.clamp_min(0)).items():
                made[name][run, where] = values.cpu().numpy()[present]
    return made


def _of_tokens(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return numbers of each decision; logits (batch, most, vocabulary), targets (batch, most)."""
    log_probabilities = torch.log_softmax(logits, dim=-1)
    chosen = log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    confidence, best = log_probabilities.max(dim=-1)
    squares = log_probabilities.mul(2).exp().sum(dim=-1)
    return {
        "loss": -chosen.double(),
        "confidence": confidence.double().exp(),
        "correct": best == targets,
        "brier": (squares - 2 * chosen.exp() + 1).double(),
    }
