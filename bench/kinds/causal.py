"""What generation and choice share: prompts with continuations, scored token by token."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.backbone import Reader
from bench.batches import evaluation_batches
from bench.errors import DataError
from bench.kinds.base import Outputs
from bench.method import AnyMethod, TrainState
from bench.packing import Row, batch, pack
from bench.probe import MAX_LOGITS, MAX_TOKENS, Probe
from bench.splits import Arrays, CausalSplit
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
            if not target:
                raise DataError(
                    f"task {task.name!r}: the target of row {len(prompts)}, "
                    f"{pairs[len(prompts)][1]!r}, has no tokens: the tokenizer drops its "
                    "characters; take out the row, or give another backbone"
                )
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
    texts = [f"{prompt} {target}" for prompt, target in pairs]
    prompts = [prompt for prompt, _ in pairs]
    whole, alone = (
        # Not verbose: too long ones are cut, or refused, elsewhere.
        tokenizer(each, add_special_tokens=False, verbose=False)["input_ids"]
        for each in (texts, prompts)
    )
    return [
        (given, ids[_boundary(ids, given, tokenizer) :])
        for given, ids in zip(alone, whole, strict=True)
    ]


def _boundary(ids: list[int], given: list[int], tokenizer: Any) -> int:
    """Return where in ``ids`` the text of the tokens ``given`` ends.

    It is found by reading tokens back, since a token may join the end of the prompt with the space
    behind it, and places in the text are wrong where a tokenizer drops characters.
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


def token_outputs(method: AnyMethod, state: TrainState, probe: Probe) -> Outputs:
    """Return what every active run says of each target token; (runs, tokens), float64.

    The tokens are those of ``probe.sequences``, one sequence after the other: ``loss`` in nats,
    ``confidence`` of the likeliest token, ``correct`` if that is the target, and ``brier``, the
    squared error summed over the vocabulary.
    """
    split, runs = probe.split, state.axis.size
    assert isinstance(split, CausalSplit)  # noqa: S101 - of these kinds
    shape = (runs, int(split.decision_counts[probe.sequences].sum()))
    made: Outputs = {name: np.empty(shape) for name in ("loss", "confidence", "brier")}
    made["correct"] = np.empty(shape, dtype=bool)
    vocabulary = int(state.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    rows = pack(split, probe.units)
    most = min(MAX_TOKENS, MAX_LOGITS // vocabulary) // runs
    state.model.eval()
    with torch.inference_mode():
        for places in evaluation_batches(np.array([len(row.tokens) for row in rows]), most):
            chosen = [rows[place] for place in places]
            logits = method.predict(state, batch(chosen, runs, split.pad_id, state.axis.device))
            for run, each in enumerate(logits.view(runs, len(chosen), *logits.shape[1:])):
                _fill(made, run, each, chosen)
    return made


def _fill(made: Outputs, run: int, logits: Tensor, rows: Sequence[Row]) -> None:
    """Put down what a run's logits, (rows, most, vocabulary), say of the rows' targets."""
    wanted = torch.arange(logits.shape[1]) < torch.tensor([[len(row.targets)] for row in rows])
    targets = torch.from_numpy(np.concatenate([row.targets for row in rows]).astype(np.int64))
    where = np.concatenate([row.numbers for row in rows])
    found = _of_tokens(logits[wanted.to(logits.device)], targets.to(logits.device))
    for name, values in found.items():
        made[name][run, where] = values.cpu().numpy()


def _of_tokens(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return numbers of each decision; logits (decisions, vocabulary), targets (decisions,)."""
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
