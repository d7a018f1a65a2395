"""One cell of the tables of families: exact (or trained), refused with a reason, or wrong.

A tiny random checkpoint of the family goes the way of a real one: from its folder through the
engine's loading, self-check, heads and attention. What comes out for several sequences at once is
compared with what the model library's own model gives for each by itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config import task_files
from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.head import LANGUAGE_MODEL, SPAN, HeadType
from gapbench.bench.core.errors import BenchError, StartError
from gapbench.bench.data.encoded import CausalSplit, EncodedSplit, TaskData, Texts
from gapbench.bench.data.packing import batch, pack
from gapbench.bench.models import attention, head_hooks, loading
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.per_run_modules import stack_head
from gapbench.bench.models.run_axis import RunAxis
from gapbench.bench.profiling import padding_check, self_check
from gapbench.bench.tasks.encoder_decoding import search_of
from gapbench.bench.tasks.generation import decode
from gapbench.bench.training.trainer import Trainer
from tests.support import tiny_families
from tests.support.counting import without_counting
from tests.support.small_stack import make_runs
from tests.support.tiny_families import VOCABULARY

TASKS = {
    "choice": "syn_choice",
    "generation": "syn_data2text",
    "classification": "syn_sentiment",
    "span": "squad_v1",
}
"""A built-in task of each kind in the table."""

TOLERANCE = 1e-3  # nats for language models, share of the largest logit for heads
_CPU = torch.device("cpu")
_FIRST = 4  # smaller ids are special
_WRITTEN = 6  # tokens

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Cell:
    """What a kind of task is on a family: a difference, or the reason why there is none."""

    off: float | None
    reason: str = ""

    def __str__(self) -> str:
        """Return the cell as the table shows it."""
        if self.off is None:
            return f"refused: {self.reason}"
        return "exact" if self.is_exact else f"WRONG by {self.off:.1g}"

    @property
    def is_exact(self) -> bool:
        """Whether the numbers are those of the library."""
        return self.off is not None and self.off <= TOLERANCE


def checked(family: str, kind: str, folder: Path) -> Cell:
    """Return the cell of a family and a kind of task.

    Args:
        family: the library's name.
        kind: one of `TASKS`.
        folder: where a checkpoint for this cell can be saved.
    """
    task = task_files.load(TASKS[kind])
    try:
        tiny_families.config(family).save_pretrained(folder)
        reason = loading.unsupported_reason(str(folder), task)
        if reason is not None:
            return Cell(None, reason.partition(": ")[0].rpartition("' ")[2])
        backbone = tiny_families.load(family, folder, task.head, task.n_outputs)
        if task.head != LANGUAGE_MODEL:
            reason = padding_check.unsupported_reason(backbone, task.head, 0, _CPU)
            if reason is not None:
                return Cell(None, re.sub(r" by [\d.]+% of their size", "", reason))
            return Cell(_head_off(backbone, task.head))
        found = self_check.check(backbone, task.max_length, _CPU)
        reason = found.unsupported_reason(writes=task.written is not None)
        if reason is not None:
            return Cell(None, reason)
        backbone.packs = found.packs
        return Cell(_choice_off(backbone) if kind == "choice" else _writing_off(backbone))
    except BenchError as error:
        told = str(error).removeprefix(f"backbone {family!r}: ")
        told = told.replace(f"backbone {str(folder)!r}", "it").partition(" <class")[0]
        return Cell(None, re.sub(r" \(\w+\.[^)]*\)", "", told))  # names of parts


def _head_off(backbone: Backbone, head: HeadType) -> float:
    """Return how far a padded batch is from single sequences, as a share of the largest logit."""
    axis = RunAxis([0], _CPU, torch.float32)
    model: Any = backbone.model()
    stack_head(model, backbone, axis)
    plain: Any = backbone.model()
    stack_head(plain, backbone, axis)
    attention.take_over(model)
    head_hooks.attach(model, head)
    sequences = _sequences(backbone, (9, 4, 13), question=head == SPAN)
    given = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(each) for each in sequences],
        batch_first=True,
        padding_value=backbone.tokenizer.pad_token_id,
    )
    lengths = torch.tensor([len(each) for each in sequences])
    inputs = {
        "input_ids": given.long(),
        "attention_mask": (torch.arange(given.shape[1]) < lengths[:, None]).long(),
    }
    if head == SPAN:
        inputs["context"] = torch.stack([torch.ones_like(lengths), lengths], 1)
    with torch.inference_mode():
        together = model(**inputs).logits
        pairs = []
        for row, sequence in zip(together, sequences, strict=True):
            alone = plain(input_ids=torch.from_numpy(sequence)[None].long())
            if head == SPAN:
                ends = torch.stack([alone.start_logits[0], alone.end_logits[0]])
                pairs.append((row[:, : len(sequence)], ends))
            else:
                pairs.append((row, alone.logits[0]))
    largest = max(float(own.abs().max()) for _, own in pairs)
    return max(float((ours - own).abs().max()) for ours, own in pairs) / largest


def _choice_off(backbone: Backbone) -> float:
    """Return how far the log-probabilities of choices are from those of single sequences."""
    split = _choices(backbone)
    model: Any = backbone.model()
    attention.take_over(model)
    head_hooks.attach(model, LANGUAGE_MODEL)
    plain: Any = backbone.model()
    rows = pack(split, np.arange(2), together=backbone.packs)
    with torch.inference_mode():
        logits = model(**batch(rows, 1, split.pad_id, _CPU).inputs).logits
        ours = torch.cat([each[: len(row.targets)] for each, row in zip(logits, rows, strict=True)])
        own = []
        for number, prompt in enumerate(split.prompts):
            ids = split.input_ids[split.offsets[number] : split.offsets[number + 1]]
            alone = plain(**_inputs(plain, ids, int(prompt)), use_cache=False).logits[0]
            own.append(alone[-1 - (len(ids) - int(prompt)) : -1])
    return float((ours.log_softmax(-1) - torch.cat(own).log_softmax(-1)).abs().max())


def _writing_off(backbone: Backbone) -> float:
    """Return 0 if greedy texts are those of whole passes, 1 if one token differs."""
    model: Any = backbone.model()
    attention.take_over(model)
    head_hooks.attach(model, LANGUAGE_MODEL)
    plain: Any = backbone.model()
    prompts = _sequences(backbone, (23, 5), ends=False)
    end = int(backbone.tokenizer.eos_token_id)
    settings = Decoding(beams=1, max_new_tokens=_WRITTEN, no_repeat_ngram=0)
    ids = {"end_ids": [end], "pad_id": int(backbone.tokenizer.pad_token_id), "device": _CPU}
    (written,) = decode(
        lambda given: model(**given).logits, prompts, 1, settings, **ids, search=search_of(model)
    )
    with torch.inference_mode():
        expected = [_greedy(plain, prompt, end) for prompt in prompts]
    return float(written != expected)


def _greedy(model: Any, prompt: Ids, end: int) -> list[int]:
    text = prompt.tolist()
    for _ in range(_WRITTEN):
        logits = model(**_inputs(model, np.array(text), len(prompt)), use_cache=False).logits
        text.append(int(logits[0, -1].argmax()))
        if text[-1] == end:
            return text[len(prompt) : -1]
    return text[len(prompt) :]


def _inputs(model: Any, text: NDArray[Any], prompt: int) -> dict[str, Tensor]:
    """Return what the model library's own model reads of a text with so many tokens of prompt."""
    ids = torch.from_numpy(text)[None].long()
    if not model.config.is_encoder_decoder:
        return {"input_ids": ids}
    begun = torch.tensor([[model.config.decoder_start_token_id]])
    if (forced := model.generation_config.forced_bos_token_id) is not None:
        begun = torch.cat([begun, torch.tensor([[forced]])], dim=1)
    return {
        "input_ids": ids[:, :prompt],
        "decoder_input_ids": torch.cat([begun, ids[:, prompt:]], dim=1),
    }


def _sequences(
    backbone: Backbone, sizes: Sequence[int], *, ends: bool = True, question: bool = False
) -> list[Ids]:
    """Return random sequences, with the tokens that the tokenizer puts around a text.

    Args:
        backbone: whose tokens.
        sizes: words of each.
        ends: whether there are tokens around it.
        question: whether the first two words are a text of their own.
    """
    rng = np.random.default_rng(0)
    around = backbone.tokenizer(*[[""]] * (1 + question))["input_ids"][0] if ends else []
    first, between, last = around[:1], around[1:-1], around[1:][-1:]
    drawn = [rng.integers(_FIRST, VOCABULARY, size) for size in sizes]
    parts = [[first, each[:2], between, each[2:], last] for each in drawn]
    return [np.concatenate(each).astype(np.int32) for each in parts]


def _choices(backbone: Backbone) -> CausalSplit:
    """Return two examples of three choices each."""
    rng = np.random.default_rng(0)
    texts, prompts = [], []
    for size in (23, 5):  # the first beyond the windows of the tiny configurations
        prompt = rng.integers(_FIRST, VOCABULARY, size)
        texts += [np.append(prompt, rng.integers(_FIRST, VOCABULARY, rest)) for rest in (4, 9, 6)]
        prompts += [size] * 3
    return CausalSplit(
        input_ids=np.concatenate(texts).astype(np.int32),
        offsets=np.cumsum([0, *map(len, texts)]),
        targets=np.zeros(2, np.int64),
        example_ids=np.arange(2),
        pad_id=int(backbone.tokenizer.pad_token_id),
        prompts=np.array(prompts),
        sequence_offsets=np.array([0, 3, 6]),
        texts=Texts.of([{}, {}]),
        characters=np.ones(6, np.int64),
    )


def trained(backbone: Backbone, method: str) -> Cell:
    """Return whether a method trains a classifier of a family, from a start that is checked.

    Args:
        backbone: as `tiny_families.load` gives it, with a head for two classes.
        method: a method's name; its settings are the defaults.
    """
    runs = make_runs(method, (0,), precision="fp32", steps=4, evaluations=1)
    cls, settings = registry.of_cell(runs[0].cell)
    try:
        reason = cls.unsupported_reason(runs[0].cell.task, backbone, settings)
        if reason is not None:
            return Cell(None, reason)
        data = TaskData(*(_labelled(backbone, size) for size in (24, 8, 8)))
        made, state = set_up(runs, backbone, data, _CPU, check=True)
        before = _beside_head(state.model, backbone)
        trainer = Trainer(runs, made, state, data, lambda _: None)
        with without_counting():
            trainer.train()
    except BenchError as error:
        if isinstance(error, StartError) and "logits differ" in str(error):
            raise  # wrong, and no refusal
        return Cell(None, str(error).removeprefix(f"backbone {backbone.family!r}: "))
    ended = trainer.traces[0].diverged
    if ended is not None:
        return Cell(None, f"it ends: {ended.partition(';')[0]}")
    after = _beside_head(state.model, backbone)
    return Cell(float(all(map(torch.equal, before, after))))


def _beside_head(model: nn.Module, backbone: Backbone) -> list[Tensor]:
    """Return copies of what trains beside the head; of the head where nothing else does."""
    heads = tuple(f"{name}." for name in backbone.head)
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    beside = [each for name, each in trained.items() if not name.startswith(heads)]
    return [each.detach().clone() for each in beside or trained.values()]


def _labelled(backbone: Backbone, count: int) -> EncodedSplit:
    """Return random sequences with one of two classes."""
    rng = np.random.default_rng(count)
    rows = _sequences(backbone, rng.integers(4, 12, count).tolist())
    return EncodedSplit(
        input_ids=np.concatenate(rows),
        offsets=np.cumsum([0, *map(len, rows)]),
        targets=rng.integers(0, 2, count),
        example_ids=np.arange(count),
        pad_id=int(backbone.tokenizer.pad_token_id),
    )
