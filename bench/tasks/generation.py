"""Decoding for a whole stack of runs: prompts in, generated token ids out.

All runs decode the same prompts, each with its own weights, in the same passes. All beams
of an input share one row: they are the tokens of a pass, and a mask shows each beam which cached
tokens are its own past. A prompt is thus read and kept once, and nothing moves when beams swap.
Finished inputs, and tokens that no beam uses any more, leave the cache in time.

The search is in `bench.tasks.beam_search`; the model is just a function here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.batching import evaluation_batches
from gapbench.bench.tasks.beam_search import NOTHING, Beams, take

# Limit for the cache of one batch, over all runs; a single input of any length is decoded.
MAX_TOKENS = 65536
_WORTH_KEEPING = 0.75  # below this share of the cache in use, the rest is dropped

Predict = Callable[[Mapping[str, Any]], Tensor]
Tokens = NDArray[np.integer[Any]]


def decode(
    predict: Predict,
    prompts: Sequence[Tokens],
    runs: int,
    decoding: Decoding,
    *,
    end_ids: Sequence[int],
    pad_id: int,
    device: torch.device,
    search: "type[BatchDecoding] | None" = None,
) -> list[list[list[int]]]:
    """Return the continuation of every prompt by every run.

    Args:
        predict: the model in evaluation mode, which uses its library's fused attention. It is
            called with keyword arguments of the model, rows run-major, (runs, inputs): `input_ids`
            and `position_ids`, (rows, tokens); `attention_mask`, (rows, tokens) or (rows, 1,
            tokens, cached tokens) bool, then with `key_positions`, (rows, cached tokens);
            `past_key_values` and `use_cache`; and `positions`, (rows, wanted), the tokens to
            predict from. It returns logits or log-probabilities, (rows,
            wanted, vocabulary). In the cache it may keep several copies of each run, (runs,
            copies, inputs).
        prompts: token ids of each prompt, at least one.
        runs: number of runs that the model carries.
        decoding: the settings of the search.
        end_ids: tokens that end a text.
        pad_id: padding on the right of shorter prompts; it is never attended to.
        device: device of the model.
        search: how the model decodes; as a decoder if None.

    Returns:
        Token ids without the end tokens: for each run, a list with one entry per prompt.

    Raises:
        DataError: if a prompt is empty.
    """
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    if not lengths.all():
        raise DataError(f"prompt {int(lengths.argmin())} has no tokens, so nothing can follow it")
    texts: list[list[list[int]]] = [[[] for _ in prompts] for _ in range(runs)]
    search = search or BatchDecoding
    most = search.cached(lengths, decoding)
    with torch.inference_mode():
        for places in evaluation_batches(most, MAX_TOKENS // runs):
            batch = [torch.as_tensor(prompts[i], dtype=torch.int64) for i in places]
            found = search(predict, batch, runs, decoding, pad_id, device)
            answers = found.run(end_ids).view(runs, len(places), -1)
            for own, answer in zip(texts, answers.tolist(), strict=True):
                for place, tokens in zip(places, answer, strict=True):
                    own[place] = [t for t in tokens if t not in (NOTHING, *end_ids)]
    return texts


class BatchDecoding:
    """The decoding of one batch of prompts.

    Attributes:
        visible: (runs * inputs, beams, cached tokens) which cached tokens are each beam's past.
        places: (runs * inputs, cached tokens) position of each token in its text.
    """

    def __init__(
        self,
        predict: Predict,
        prompts: list[Tensor],
        runs: int,
        decoding: Decoding,
        pad_id: int,
        device: torch.device,
    ) -> None:
        self.predict = predict
        self.runs = runs
        self.decoding = decoding
        self.cache: Any = transformers.DynamicCache()
        padded = pad_sequence(prompts, batch_first=True, padding_value=pad_id)
        self.input_ids = padded.to(device).repeat(runs, 1)
        left = pad_sequence(prompts, batch_first=True, padding_value=NOTHING, padding_side="left")
        self.beams = Beams.start(left.to(device).repeat(runs, 1), decoding.beams)
        present = torch.arange(padded.shape[1], device=device) < self.beams.lengths.unsqueeze(1)
        self.visible = present.unsqueeze(1).expand(-1, decoding.beams, -1)
        self.places = torch.arange(padded.shape[1], device=device).expand_as(self.input_ids)

    @staticmethod
    def cached(lengths: NDArray[np.int64], decoding: Decoding) -> NDArray[np.int64]:
        """Return the most tokens that the cache holds of each prompt and what follows it."""
        return lengths + decoding.beams * decoding.max_new_tokens

    def run(self, end_ids: Sequence[int]) -> Tensor:
        """Return the answers, (runs * prompts, max_new_tokens), `NOTHING` after their ends."""
        shape = (len(self.input_ids), self.decoding.max_new_tokens)
        answers = self.input_ids.new_full(shape, NOTHING)
        logits = self.read_prompts()
        while True:
            self.follow(self.beams.advance(logits, self.decoding, end_ids, answers))
            if not self.tidy():
                return answers
            logits = self.read_tokens()

    def read_prompts(self) -> Tensor:
        """Run every prompt; return what follows it, (runs * inputs, 1, vocabulary)."""
        return self.predict(
            {
                "input_ids": self.input_ids,
                "attention_mask": self.visible[:, 0].long(),
                "position_ids": self.places,
                "past_key_values": self.cache,
                "use_cache": True,
                "positions": self.beams.lengths.unsqueeze(1) - 1,
            }
        )

    def read_tokens(self) -> Tensor:
        """Run the newest token of every beam; return (runs * inputs, beams, vocabulary)."""
        newest = self.beams.tokens[:, :, -1]
        beams = torch.arange(newest.shape[1], device=newest.device)
        itself = (beams == beams.unsqueeze(1)).expand(len(newest), -1, -1)
        self.visible = torch.cat([self.visible, itself], dim=2)
        last = (self.beams.lengths + self.beams.tokens.shape[2] - 1).unsqueeze(1).expand_as(newest)
        self.places = torch.cat([self.places, last], dim=1)
        return self.predict(
            {
                "input_ids": newest,
                "attention_mask": self.visible.unsqueeze(1),
                "position_ids": last,
                "key_positions": self.places,
                "past_key_values": self.cache,
                "use_cache": True,
                "positions": beams.expand_as(newest),
            }
        )

    def follow(self, parents: Tensor) -> None:
        """Go on from the sequences that the new ones continue, (runs * inputs, beams)."""
        self.visible = take(self.visible, parents)

    def tidy(self) -> bool:
        """Drop finished rows once they are a large share; return whether to continue.

        All runs keep the same number of rows, and all rows the same number of cached tokens: the
        largest that any of them needs. Unused ones have no effect.
        """
        is_open = self.beams.open.view(self.runs, -1)
        used = self.visible.any(dim=1) & self.beams.open.unsqueeze(1)
        inputs, tokens = torch.stack([is_open.sum(1).max(), used.sum(1).max()]).tolist()
        rows, width = is_open.shape[1], used.shape[1]
        if self.worth_dropping(inputs * tokens, rows * width):
            self._keep(chosen_first(is_open, inputs), chosen_first(used, tokens))
        return bool(inputs)

    @staticmethod
    def worth_dropping(used: int, whole: int) -> bool:
        """Whether what is used of a cache is so little that the rest is dropped."""
        return 0 < used < _WORTH_KEEPING * whole

    def _keep(self, rows: Tensor, slots: Tensor) -> None:
        """Keep chosen rows of each run, (runs, fewer), and tokens of each row, (rows, fewer)."""
        before = len(slots) // self.runs
        flat = flat_rows(rows, before)
        self.beams = self.beams.select(flat)
        self.visible = self.visible[flat].take_along_dim(slots[flat].unsqueeze(1), dim=2)
        self.places = self.places[flat].take_along_dim(slots[flat], dim=1)
        # With several copies of each run, the cache has one equal block of rows per copy.
        copies = len(self.cache.layers[0].keys) // (self.runs * before)
        held = flat_rows(rows.repeat_interleave(copies, dim=0), before).unsqueeze(1)
        each = slots[flat].view(self.runs, 1, *rows.shape[1:], -1).expand(-1, copies, -1, -1)
        for layer in self.cache.layers:
            layer.keys, layer.values = (
                kept[held, :, each.flatten(0, 2)].transpose(1, 2)
                for kept in (layer.keys, layer.values)
            )


def chosen_first(chosen: Tensor, count: int) -> Tensor:
    """Return the indices of ``count`` entries of each row, chosen entries first."""
    return chosen.int().argsort(dim=1, descending=True, stable=True)[:, :count]


def flat_rows(rows: Tensor, size: int) -> Tensor:
    """Turn row numbers within blocks of ``size`` rows, (blocks, some), into global ones."""
    first = torch.arange(len(rows), device=rows.device) * size
    return (rows + first.unsqueeze(1)).flatten()
