"""Decoding by an encoder-decoder: every beam is a row of its own.

Its decoder counts the places of its cache, so beams cannot share a row as they do in
`bench.tasks.generation`. The prompt's keys and values are made once and repeated for every beam;
those of the written tokens follow the beams.

As in the model library, `no_repeat_ngram` looks at what is written and not at the prompt. Lengths
do not count the tokens that every text begins with; the library's count a forced first one (BART).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.tasks.generation import BatchDecoding, chosen_first, flat_rows


def search_of(model: Any) -> type[BatchDecoding]:
    """Return how a model decodes."""
    return EncoderDecoding if model.config.is_encoder_decoder else BatchDecoding


class EncoderDecoding(BatchDecoding):
    """The decoding of one batch of prompts.

    Rows of the cache are (runs, copies, inputs, beams): with several copies of each run, there is
    one equal block for each.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.cache = transformers.EncoderDecoderCache(
            transformers.DynamicCache(), transformers.DynamicCache()
        )
        self.beams = replace(self.beams, prompts=self.beams.prompts[:, :0])

    @staticmethod
    def cached(lengths: NDArray[np.int64], decoding: Decoding) -> NDArray[np.int64]:
        """Return the most tokens that the cache holds of each prompt and what follows it."""
        return decoding.beams * (lengths + decoding.max_new_tokens)

    def read_prompts(self) -> Tensor:
        """Run every prompt; return what follows it, (runs * inputs, 1, vocabulary)."""
        logits = super().read_prompts()
        self.cache.batch_repeat_interleave(self.decoding.beams)
        return logits

    def read_tokens(self) -> Tensor:
        """Run the newest token of every beam; return (runs * inputs, beams, vocabulary)."""
        newest = self.beams.tokens[:, :, -1]
        prompts = self.visible[:, 0].long().repeat_interleave(newest.shape[1], dim=0)
        logits = self.predict(
            {
                "input_ids": newest.reshape(-1, 1),
                "attention_mask": prompts,
                "past_key_values": self.cache,
                "use_cache": True,
                "positions": torch.zeros_like(newest).view(-1, 1),
            }
        )
        return logits.view(*newest.shape, -1)

    def follow(self, parents: Tensor) -> None:
        """Let the cache of written tokens go on with other beams of the same inputs."""
        each = parents.view(self.runs, -1, parents.shape[1])
        first = torch.arange(each.shape[1], device=parents.device) * parents.shape[1]
        rows = (each + first.unsqueeze(1)).flatten(1)
        self.cache.self_attention_cache.reorder_cache(self._in_cache(rows, rows.shape[1]))

    def tidy(self) -> bool:
        """Drop finished rows once they are a large share; return whether to continue."""
        is_open = self.beams.open.view(self.runs, -1)
        inputs, before = int(is_open.sum(1).max()), is_open.shape[1]
        if self.worth_dropping(inputs, before):
            rows = chosen_first(is_open, inputs)
            flat, beams = flat_rows(rows, before), self.decoding.beams
            self.beams, self.visible = self.beams.select(flat), self.visible[flat]
            each = rows.unsqueeze(2) * beams + torch.arange(beams, device=rows.device)
            self.cache.batch_select_indices(self._in_cache(each.flatten(1), before * beams))
        return bool(inputs)

    def _in_cache(self, rows: Tensor, size: int) -> Tensor:
        """Turn row numbers within runs of ``size`` rows, (runs, some), into those of the cache."""
        keys = self.cache.self_attention_cache.layers[0].keys
        copies = len(keys) // (self.runs * size)
        return flat_rows(rows.repeat_interleave(copies, dim=0), size)
