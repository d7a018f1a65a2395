"""Beam search over a batch: which sequences continue, which end, when an input is done.

The rules are those of the model library's `generate` with ``early_stopping=False`` (transformers 5,
`generation/utils.py`), so that published decoding settings mean the same here; this is a tensor
algebra of its own. Running the model is the work of `bench.tasks.generation`.

At every step the best ``2 * beams`` continuations of an input are looked at. Those among the first
``beams`` that end are answers, scored by log-probability / tokens ** length_penalty; the best
``beams`` that do not end go on. An input is done when ``beams`` answers are all at least as good
as the best continuing sequence would be if it ended now.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from gapbench.bench.config.decoding import Decoding

NOTHING = -1  # where a sequence has no token


@dataclass
class Beams:
    """The search for a batch of inputs, best sequences first.

    Attributes:
        places: (inputs,) where each input's answer goes.
        lengths: (inputs,) tokens of each prompt.
        prompts: (inputs, prompt tokens), with `NOTHING` on the left of shorter ones.
        tokens: (inputs, beams, generated tokens) of the sequences that go on.
        scores: (inputs, beams) their log-probabilities; -inf for a beam that is not there.
        ended: (inputs, beams) the best answers' scores; -inf for an answer that is not there.
        open: (inputs,) whether the search for an input continues.
    """

    places: Tensor
    lengths: Tensor
    prompts: Tensor
    tokens: Tensor
    scores: Tensor
    ended: Tensor
    open: Tensor

    @classmethod
    def start(cls, prompts: Tensor, beams: int) -> "Beams":
        """Begin with one empty sequence for each prompt; see `Beams.prompts`."""
        inputs, device = len(prompts), prompts.device
        nothing = torch.full((inputs, beams), -torch.inf, dtype=torch.float64, device=device)
        scores = nothing.clone()
        scores[:, 0] = 0.0
        return cls(
            places=torch.arange(inputs, device=device),
            lengths=(prompts != NOTHING).sum(1),
            prompts=prompts,
            tokens=prompts.new_empty((inputs, beams, 0)),
            scores=scores,
            ended=nothing,
            open=torch.ones(inputs, dtype=torch.bool, device=device),
        )

    def advance(self, logits: Tensor, decoding: Decoding, end_id: int, answers: Tensor) -> Tensor:
        """Add one token to every sequence.

        Args:
            logits: (inputs, beams, vocabulary), or (inputs, 1, vocabulary) for all beams alike.
            decoding: the settings.
            end_id: token that ends a sequence.
            answers: (all inputs, max_new_tokens), into which the best answers are written.

        Returns:
            (inputs, beams) the sequence that each new one continues.
        """
        count = self.tokens.shape[2] + 1
        totals, parents, tokens = self._candidates(logits, decoding.no_repeat_ngram)
        ends = tokens == end_id
        if count == decoding.max_new_tokens:
            ends = torch.ones_like(ends)
        sequences = torch.cat([take(self.tokens, parents), tokens.unsqueeze(2)], dim=2)

        width = count**decoding.length_penalty
        beams = self.scores.shape[1]
        answer_scores = (totals / width).masked_fill(~ends, -torch.inf)[:, :beams]
        self._answer(sequences, answer_scores, answers)

        going_on = ends.int().argsort(dim=1, stable=True)[:, :beams]
        self.tokens = take(sequences, going_on)
        self.scores = totals.gather(1, going_on)
        if count == decoding.max_new_tokens:
            self.open = torch.zeros_like(self.open)
        else:
            self.open &= self.scores[:, 0] / width > self.ended[:, -1]
        return parents.gather(1, going_on)

    def select(self, rows: Tensor) -> "Beams":
        """Return the search for some of the inputs, (fewer inputs,)."""
        return replace(
            self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)}
        )

    def _candidates(self, logits: Tensor, no_repeat: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return score, parent and token of each input's best continuations, best first."""
        beams = self.scores.shape[1]
        # Half precision would tie many candidates.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        normaliser = logits.logsumexp(dim=-1, keepdim=True)
        if no_repeat:
            logits = self._without_repeats(logits, no_repeat)
        # No more than this many of one sequence's continuations can be among the best of all.
        best = logits.topk(min(2 * beams, logits.shape[-1]), dim=-1)
        totals = self.scores.unsqueeze(2) + (best.values - normaliser).double()
        tokens = best.indices.expand(-1, beams, -1)
        chosen = totals.flatten(1).topk(2 * beams, dim=1)
        parents = chosen.indices // totals.shape[2]
        return chosen.values, parents, tokens.flatten(1).gather(1, chosen.indices)

    def _without_repeats(self, logits: Tensor, n: int) -> Tensor:
        """Forbid every token that would complete an n-gram for the second time."""
        beams = self.scores.shape[1]
        prompts = self.prompts.unsqueeze(1).expand(-1, beams, -1)
        sequences = torch.cat([prompts, self.tokens], dim=2)
        starts = sequences.shape[2] - n + 1
        if starts < 1:
            return logits
        last = sequences[:, :, n - 1 :]
        seen_before = last != NOTHING
        for offset in range(n - 1):
            newest = sequences[:, :, starts + offset, None]
            seen_before &= sequences[:, :, offset : offset + starts] == newest
        rows, beam, place = seen_before.nonzero(as_tuple=True)
        logits = logits.repeat(1, beams // logits.shape[1], 1)
        logits[rows, beam, last[rows, beam, place]] = -torch.inf
        return logits

    def _answer(self, sequences: Tensor, scores: Tensor, answers: Tensor) -> None:
        """Count ended sequences among the answers, and write down those that are the best yet.

        Args:
            sequences: (inputs, 2 * beams, tokens).
            scores: (inputs, beams) of the first ones; -inf for a sequence that has not ended.
            answers: see `advance`.
        """
        best, beam = scores.max(dim=1)
        (better,) = (self.open & (best > self.ended[:, 0])).nonzero(as_tuple=True)
        # An answer that comes later is longer, so nothing of the earlier one is left over.
        answers[self.places[better], : sequences.shape[2]] = sequences[better, beam[better]]
        merged = torch.cat([self.ended, scores], dim=1)
        self.ended = merged.topk(self.ended.shape[1], dim=1).values


def take(sequences: Tensor, which: Tensor) -> Tensor:
    """Return (inputs, chosen, tokens): of each input's sequences those at ``which``."""
    return sequences.take_along_dim(which.unsqueeze(2), dim=1)
