"""Self-check: packed rows and cached tokens give a language model the logits of single texts.

Before the numbers of a backbone count, random tokens are scored both ways. A model that ignores
masks of single tokens (its layers carry a state, or count positions by themselves) scores each
text in its own row, and decodes none.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from gapbench.bench.adaptation.build import load_backbone, unsupported_reason
from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.config.run import Cell
from gapbench.bench.data.encoded import CausalSplit, Texts
from gapbench.bench.data.packing import ROOM, batch, pack, widest
from gapbench.bench.data.sources import Sources
from gapbench.bench.models import attention, encoder_decoder, head_hooks, length_limits, loading
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.bf16 import InFull
from gapbench.bench.profiling import measurement_cache, padding_check, precision_check
from gapbench.bench.store.failure import status_of
from gapbench.bench.store.record import Status
from gapbench.bench.tasks.encoder_decoding import search_of
from gapbench.bench.tasks.generation import BatchDecoding

TOLERANCE = 1e-3  # nats between the two ways, for logits in float32
_PROMPTS, _RESTS = (24, 5), (4, 9, 6)
_BEYOND = 8  # tokens by which a prompt or a row exceeds a limit
_WIDEST = 2**20  # tokens: no batch bounds the rows that are tried


@dataclass(frozen=True)
class SelfCheck:
    """Deviations of a backbone, in nats; None where it could not be measured or cannot be.

    Attributes:
        future: change of a token's logits when the tokens after it change.
        packed: packed rows compared with single sequences.
        decoded: the step after a cached prompt compared with single sequences.
    """

    future: float | None
    packed: float | None
    decoded: float | None

    @property
    def packs(self) -> bool:
        """Whether packed rows can be trusted."""
        return _close(self.packed)

    def unsupported_reason(self, *, writes: bool) -> str | None:
        """Return why the backbone cannot do tasks with prompts, None if it can.

        Args:
            writes: whether texts are decoded, or only scored.
        """
        if self.future is None:
            return "a batch of texts of different lengths fails, or its logits are no numbers"
        if not _close(self.future):
            return (
                "a token's logits depend on later tokens, so it is not a decoder, or on the length "
                "of other texts; a smaller 'max_length' may keep them below the limit"
            )
        if writes and not _close(self.decoded):
            off = "fails" if self.decoded is None else f"is off by {self.decoded:.1g} nats"
            return f"decoding from the cache {off} against the whole text, so it decodes none"
        return None


def checked_backbone(cell: Cell, sources: Sources, device: torch.device) -> Backbone | str:
    """Return the backbone of a cell, or the reason why it cannot do the cell's task.

    Raises:
        BackboneError: if it cannot be read.
    """
    task = cell.task
    reason = loading.unsupported_reason(sources.locate(cell.backbone), task)
    if reason is not None:
        return reason
    place = f"backbone {cell.backbone.name!r}"
    reason = precision_check.unsupported_reason(cell, sources, device)
    if reason is not None:
        return f"{place}: {reason}"
    backbone = load_backbone(cell, sources)
    tasks = [task, *(test.task for test in cell.also_test)]
    longest = min(max(each.max_length for each in tasks), backbone.reader.window)
    if task.head != LANGUAGE_MODEL:
        reason = padding_check.unsupported_reason(backbone, task.head, longest, device)
        return backbone if reason is None else f"{place}: {reason}"
    written = [each.written for each in tasks if each.written is not None]
    found = check(backbone, longest + max(written, default=0), device)
    backbone.packs = found.packs
    reason = found.unsupported_reason(writes=bool(written))
    return backbone if reason is None else f"{place}: {reason}"


def supported_backbone(cell: Cell, sources: Sources, device: torch.device) -> Backbone | str:
    """Return the backbone of a cell, or the reason why it or the method cannot do the task.

    Raises:
        BackboneError: if it cannot be read.
    """
    backbone = checked_backbone(cell, sources, device)
    if isinstance(backbone, str):
        return backbone
    return unsupported_reason(cell, backbone) or backbone


def check(backbone: Backbone, longest: int, device: torch.device) -> SelfCheck:
    """Return the deviations of a backbone on texts of up to ``longest`` tokens.

    It is measured once for each backbone, limit within ``longest``, and version of the libraries;
    where rows may exceed a limit, for each ``longest`` too.
    """
    config = backbone.config
    limit = length_limits.largest(config, longest - _BEYOND - max(_RESTS) + 1)
    wide = _limit_of_rows(backbone, longest)
    subject = {
        "self check": 5,
        "backbone": backbone.identity,
        "limits": [limit, wide, longest if wide else None],
        "versions": [torch.__version__, transformers.__version__],
    }
    key = measurement_cache.key_of(subject, device)
    known = measurement_cache.recall(key)
    if isinstance(known, dict) and known.keys() == SelfCheck.__annotations__.keys():
        return SelfCheck(**known)
    found = _measure(backbone, limit, wide, longest, device)
    measurement_cache.remember(key, asdict(found))
    return found


def _limit_of_rows(backbone: Backbone, longest: int) -> int:
    """Return the largest limit within the width of rows of such texts, 0 if there is none.

    Some models count the places of a row, whatever positions they are given.
    """
    most = widest(longest) - _BEYOND
    positions = backbone.positions or 0
    return max(length_limits.largest(backbone.config, most), positions if positions < most else 0)


def _measure(
    backbone: Backbone, limit: int, wide: int, longest: int, device: torch.device
) -> SelfCheck:
    model: Any = backbone.model().to(device).eval()
    attention.take_over(model)
    head_hooks.attach(model, LANGUAGE_MODEL)
    plain: Any = backbone.model().to(device).eval()  # with the library's own attention
    split = _random_texts(backbone, limit, wide, longest)
    packs = not backbone.config.is_encoder_decoder  # an encoder reads one prompt of a row
    with torch.inference_mode(), InFull():
        alone = partial(_alone, plain, split)
        return SelfCheck(
            _apart(partial(_scored, model, split, together=False), alone),
            _apart(partial(_scored, model, split, together=True), alone) if packs else None,
            _apart(partial(_step, model, split), partial(_after_step, plain, split)),
        )


def _random_texts(backbone: Backbone, limit: int, wide: int, longest: int) -> CausalSplit:
    """Return examples of several texts each, some beyond the limits.

    The first prompt goes beyond ``limit``. If there is a limit of rows, texts of one more example,
    with a few targets each, make a row that is wider.
    """
    rng = np.random.default_rng(0)
    vocabulary = int(backbone.config.vocab_size)
    special = set(backbone.tokenizer.all_special_ids)
    tokens = [token for token in range(min(vocabulary, 1000)) if token not in special]
    first = max(_PROMPTS[0], limit + _BEYOND if limit else 0)
    examples: list[tuple[int, tuple[int, ...]]] = [(first, _RESTS), (_PROMPTS[1], _RESTS)]
    if wide:
        examples.append(_of_a_row(wide + _BEYOND, longest))
    texts: list[Any] = []
    for size, rests in examples:
        prompt = rng.choice(tokens, size)
        texts += [np.append(prompt, rng.choice(tokens, rest)) for rest in rests]
    lengths = [len(text) for text in texts]
    targets = [min(rest, max(_RESTS)) for _, rests in examples for rest in rests]
    return CausalSplit(
        input_ids=np.concatenate(texts).astype(np.int32),
        offsets=np.cumsum([0, *lengths]),
        targets=np.zeros(len(examples), np.int64),
        example_ids=np.arange(len(examples)),
        pad_id=int(backbone.tokenizer.pad_token_id),
        prompts=np.subtract(lengths, targets),
        sequence_offsets=np.cumsum([0, *(len(rests) for _, rests in examples)]),
        texts=Texts.of([{}] * len(examples)),
        characters=np.ones(len(texts), np.int64),
    )


def _of_a_row(width: int, longest: int) -> tuple[int, tuple[int, ...]]:
    """Return the tokens of a prompt, and of the texts after it that make a row of some width.

    The first text is the longest, since it decides how much room there is. What a text adds to the
    row are all of its tokens but the last.
    """
    rest = min(longest // 2, ROOM)
    texts, left = divmod(width - (longest - rest), rest - 1)
    return longest - rest, (rest,) * texts + ((left + 1,) if left else ())


def _scored(model: Any, split: CausalSplit, *, together: bool) -> Tensor:
    """Return the logits before every target, (targets, vocabulary), as runs are scored."""
    rows = pack(split, np.arange(len(split)), together=together, most_tokens=_WIDEST)
    given = batch(rows, 1, split.pad_id, _device(model))
    logits = model(**given.inputs).logits
    return torch.cat([each[: len(row.targets)] for each, row in zip(logits, rows, strict=True)])


def _alone(model: Any, split: CausalSplit) -> Tensor:
    """Return the same from each text alone, but for the last target without a token that it reads.

    Logits that depend on later tokens then differ.
    """
    found = []
    texts = np.split(split.input_ids, split.offsets[1:-1])
    for text, prompt in zip(texts, split.prompts, strict=True):
        targets = len(text) - prompt
        found += [_last(model, text[:-2], prompt, targets - 1), _last(model, text[:-1], prompt, 1)]
    return torch.cat(found)


def _step(model: Any, split: CausalSplit) -> Tensor:
    """Return the logits after the first token of two beams for each prompt, with the cache."""
    search = _search(model, split)
    answers = search.input_ids.new_zeros((len(search.input_ids), search.decoding.max_new_tokens))
    parents = search.beams.advance(search.read_prompts(), search.decoding, [-1], answers)
    search.follow(parents)
    return search.read_tokens().flatten(0, 1)


def _after_step(model: Any, split: CausalSplit) -> Tensor:
    """Return the same from each prompt with its token as a separate text."""
    search = _search(model, split)
    logits = torch.stack([_last(model, prompt, len(prompt), 1) for prompt in _prompts(split)])
    best = logits[:, 0].topk(search.decoding.beams).indices.tolist()
    pairs = zip(_prompts(split), best, strict=True)
    longer = [np.append(prompt, token) for prompt, tokens in pairs for token in tokens]
    return torch.cat([_last(model, text, len(text) - 1, 1) for text in longer])


def _search(model: Any, split: CausalSplit) -> BatchDecoding:
    prompts = [torch.from_numpy(prompt.astype(np.int64)) for prompt in _prompts(split)]
    decoding = Decoding(beams=2, max_new_tokens=4, no_repeat_ngram=0)
    device = _device(model)
    return search_of(model)(
        lambda given: model(**given).logits, prompts, 1, decoding, split.pad_id, device
    )


def _prompts(split: CausalSplit) -> list[NDArray[np.int32]]:
    firsts = split.sequence_offsets[:-1]
    pairs = zip(split.offsets[firsts], split.prompts[firsts], strict=True)
    return [split.input_ids[start : start + size] for start, size in pairs]


def _last(model: Any, text: NDArray[np.integer[Any]], prompt: int, count: int) -> Tensor:
    """Return the logits of the last ``count`` tokens of a text, (count, vocabulary)."""
    ids = torch.from_numpy(text.astype(np.int64)).to(_device(model))[None]
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        begun = ids.new_tensor([encoder_decoder.beginning(model)])
        inputs = {
            "input_ids": ids[:, :prompt],
            "decoder_input_ids": torch.cat([begun, ids[:, prompt:]], dim=1),
        }
    logits: Tensor = model(**inputs).logits[0, -count:]
    return logits


def _apart(one: Callable[[], Tensor], other: Callable[[], Tensor]) -> float | None:
    """Return the largest difference in log-probability; None if either way fails."""
    try:
        difference = (one().log_softmax(-1) - other().log_softmax(-1)).abs().max()
    except Exception as error:  # a model that does not know such inputs may raise anything
        if status_of(error) == Status.OUT_OF_MEMORY:
            raise
        return None
    return float(difference) if bool(difference.isfinite()) else None


def _close(difference: float | None) -> bool:
    return difference is not None and difference <= TOLERANCE


def _device(model: Any) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device
