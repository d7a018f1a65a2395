"""Beam search over a batch: which sequences continue, which end, and when an input is done.

The rules are those of the model library's `generate` with ``early_stopping=False`` (transformers 5,
`generation/utils.py`), so that published decoding settings mean the same here; the tensor
code is our own. `bench.tasks.generation` runs the model.

Every step considers the best ``2 * beams`` continuations of an input, more where several tokens
end a sequence. Those among the first
``beams`` that end are answers, scored by log-probability / tokens ** length_penalty; the best
``beams`` that do not end go on. An input is done when ``beams`` answers are all at least as good
as the best continuing sequence would be if it ended now.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from gapbench.bench.config.decoding import Decoding

NOTHING = -1  # marks the absence of a token


@dataclass
class Beams:
    """The search for a batch of inputs, best sequences first.

    Attributes:
        places: (inputs,) row of each input's answer.
        lengths: (inputs,) tokens of each prompt.
        prompts: (inputs, prompt tokens), with `NOTHING` to the left of shorter ones.
        tokens: (inputs, beams, generated tokens) of the sequences that continue.
        scores: (inputs, beams) log-probabilities of the sequences; -inf for a missing beam.
        ended: (inputs, beams) scores of the best answers; -inf for a missing answer.
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

    def advance(
        self, logits: Tensor, decoding: Decoding, end_ids: Sequence[int], answers: Tensor
    ) -> Tensor:
        """Add one token to every sequence.

        Args:
            logits: (inputs, beams, vocabulary), or (inputs, 1, vocabulary) shared by all beams.
            decoding: settings of the search.
            end_ids: tokens that end a sequence.
            answers: (all inputs, max_new_tokens), into which the best answers are written.

        Returns:
            (inputs, beams) the sequence that each new one continues.
        """
        count = self.tokens.shape[2] + 1
        beams = self.scores.shape[1]
        most = max(2, 1 + len(end_ids)) * beams  # so that enough of them go on
        totals, parents, tokens = self._candidates(logits, decoding.no_repeat_ngram, most)
        ends = torch.stack([tokens == end for end in end_ids]).any(dim=0)
        if count == decoding.max_new_tokens:
            ends = torch.ones_like(ends)
        sequences = torch.cat([take(self.tokens, parents), tokens.unsqueeze(2)], dim=2)

        width = count**decoding.length_penalty
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

    def _candidates(
        self, logits: Tensor, no_repeat: int, most: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return score, parent and token of each input's best continuations, best first."""
        beams = self.scores.shape[1]
        # Half precision would tie many candidates.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        normaliser = logits.logsumexp(dim=-1, keepdim=True)
        if no_repeat:
            logits = self._without_repeats(logits, no_repeat)
        # At most this many continuations of one sequence can be among the best overall.
        best = logits.topk(min(most, logits.shape[-1]), dim=-1)
        totals = self.scores.unsqueeze(2) + (best.values - normaliser).double()
        tokens = best.indices.expand(-1, beams, -1)
        chosen = totals.flatten(1).topk(most, dim=1)
        parents = chosen.indices // totals.shape[2]
        return chosen.values, parents, tokens.flatten(1).gather(1, chosen.indices)

    def _without_repeats(self, logits: Tensor, n: int) -> Tensor:
        """Forbid every token that would repeat an n-gram."""
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
        """Add ended sequences to the answers, and store the best so far.

        Args:
            sequences: (inputs, candidates, tokens).
            scores: (inputs, beams) of the first sequences; -inf if a sequence has not ended.
            answers: see `advance`.
        """
        best, beam = scores.max(dim=1)
        (better,) = (self.open & (best > self.ended[:, 0])).nonzero(as_tuple=True)
        # A later answer is longer, so it overwrites all of the earlier one.
        answers[self.places[better], : sequences.shape[2]] = sequences[better, beam[better]]
        merged = torch.cat([self.ended, scores], dim=1)
        self.ended = merged.topk(self.ended.shape[1], dim=1).values


def take(sequences: Tensor, which: Tensor) -> Tensor:
    """Return each input's sequences at ``which``, (inputs, chosen, tokens)."""
    return sequences.take_along_dim(which.unsqueeze(2), dim=1)
