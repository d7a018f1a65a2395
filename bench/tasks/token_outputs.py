"""Outputs of a stack of language models for every target token, for every kind of task."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.data.batching import evaluation_batches
from gapbench.bench.data.encoded import CausalSplit, Indices
from gapbench.bench.data.packing import PackedRow, batch, pack
from gapbench.bench.models.shared_prefix import sharing
from gapbench.bench.tasks.eval_subset import MAX_LOGITS, EvalSubset, most_tokens
from gapbench.bench.tasks.kinds.base import Outputs


def token_outputs(method: AnyMethod, state: TrainState, subset: EvalSubset) -> Outputs:
    """Return every active run's outputs for each target token; (runs, tokens), float64.

    The tokens are those of ``subset.sequences``, one sequence after the other: ``loss`` in nats,
    ``confidence`` (probability of the likeliest token), ``correct`` (whether that token is the
    target) and ``brier`` (squared error summed over the vocabulary).
    """
    split, runs = subset.split, state.axis.size
    assert isinstance(split, CausalSplit)  # noqa: S101 - for the type
    shape = (runs, int(split.target_counts[subset.sequences].sum()))
    made: Outputs = {name: np.empty(shape) for name in ("loss", "confidence", "brier")}
    made["correct"] = np.empty(shape, dtype=bool)
    rows, most = packed(state, split, subset.examples)
    state.model.eval()
    with torch.inference_mode(), sharing(state.model) as prefix:
        for places in evaluation_batches(np.array([row.width for row in rows]), most):
            chosen = [rows[place] for place in places]
            prefix.distinct = len(chosen)
            logits = method.predict(state, batch(chosen, runs, split.pad_id, state.axis.device))
            for run, each in enumerate(logits.view(runs, len(chosen), *logits.shape[1:])):
                _fill(made, run, each, chosen)
    return made


def packed(state: TrainState, split: CausalSplit, examples: Indices) -> tuple[list[PackedRow], int]:
    """Return the rows in which a stack reads some examples, and the tokens of a batch of rows."""
    vocabulary = int(state.model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    targets = MAX_LOGITS // vocabulary // state.axis.size
    tokens = most_tokens(state.axis)
    room = {"most_tokens": tokens, "most_targets": targets}
    return pack(split, examples, together=state.packs, **room), min(tokens, targets)


def _fill(made: Outputs, run: int, logits: Tensor, rows: Sequence[PackedRow]) -> None:
    """Store the outputs for the rows' targets from a run's logits, (rows, most, vocabulary)."""
    wanted = torch.arange(logits.shape[1]) < torch.tensor([[len(row.targets)] for row in rows])
    targets = torch.from_numpy(np.concatenate([row.targets for row in rows]).astype(np.int64))
    where = np.concatenate([row.numbers for row in rows])
    found = _of_tokens(logits[wanted.to(logits.device)], targets.to(logits.device))
    for name, values in found.items():
        made[name][run, where] = values.cpu().numpy()


def _of_tokens(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the outputs of each target; logits (targets, vocabulary), targets (targets,)."""
    # Over large vocabularies torch's float32 log_softmax is off by 1e-6 on average, always upwards,
    # which adds up over the tokens of a text.
    log_probabilities = logits - logits.logsumexp(dim=-1, keepdim=True)
    chosen = log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    confidence, best = log_probabilities.max(dim=-1)
    squares = log_probabilities.mul(2).exp().sum(dim=-1)
    return {
        "loss": -chosen.double(),
        "confidence": confidence.double().exp(),
        "correct": best == targets,
        "brier": (squares - 2 * chosen.exp() + 1).double(),
    }
