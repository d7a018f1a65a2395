"""The tiny backbones in pretraining: shapes, vocabularies and objectives.

The encoder (BERT) does five things with each batch, half of whose rows have words masked:

- words: predict the masked words;
- order: tell from the pooled [CLS] whether a sentence was disturbed (words replaced by random
  ones, neighbours swapped); scene: whether one of two sentences retells the other;
- contents: tell from the pooled [CLS] which words are only in the first of two sentences and
  which only in the second (of a single sentence: which words it has);
- neighbour: find among all the sentence that comes next to this one in a story, by pooled [CLS];
- shared: tell from each word's own state whether it is in the other sentence as well.

The decoder (Llama) predicts the next word of stories. The text is
`bench.synthetic.language.corpus`; the loop, the settings that made the committed weights and the
command are `bench.synthetic.pretrain`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from gapbench.bench.synthetic.language.corpus import Corpus, draw_neighbours, draw_pair, draw_story
from gapbench.bench.synthetic.language.lexicon import STOP, vocabulary
from gapbench.bench.synthetic.language.records import RECORD_WORDS
from gapbench.bench.synthetic.language.sampling import Draws

Architecture = Literal["encoder", "decoder"]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, _, CLS, SEP, MASK = range(len(SPECIALS))
WORD_IDS = {word: k for k, word in enumerate((*SPECIALS, *vocabulary()))}
"""Token id of every word of the grammar; the specials come first."""

DECODER_IDS = {word: k for k, word in enumerate((*WORD_IDS, *RECORD_WORDS, STOP))}
"""Token ids of the decoder, which also knows the words of records and `STOP`."""

VERDICT_WIDTH = 32
"""Pooled features for order and scene; contents use the others.

They are separate, because order and scene alone would drive every pooled feature to 1 or -1.
"""

SPREAD = 0.5
"""Standard deviation over the rows that every other pooled feature should have at least."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one pretraining.

    Attributes:
        seed: Seed of text, initial weights and masks.
        steps: Optimiser updates.
        batch_size: Rows per step: sentences and as many pairs (encoder), or stories (decoder).
        corpus_size: Distinct rows of each type before they repeat.
        learning_rate: AdamW's peak learning rate, reached after `warmup_steps`, then cosine to 0.
        warmup_steps: Steps of linear warm-up.
        weight_decay: AdamW's decoupled decay.
        mask_share: Share of words masked in the encoder's masked half of a batch.
        log_every: Steps averaged in one entry of the recorded curve.
    """

    seed: int = 1
    steps: int = 3000
    batch_size: int = 48
    corpus_size: int = 60_000
    learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 0.01
    mask_share: float = 0.15
    log_every: int = 10


class PretrainingModel(Protocol):
    """The interface of models for the pretraining loop."""

    module: nn.Module

    def losses(self, step: int) -> dict[str, Tensor]:
        """Return the scalar losses of a step by name; their sum is minimised."""

    def save(self, folder: Path) -> None:
        """Write the model without its pretraining heads."""


class Encoder:
    """A tiny BERT with its pretraining heads."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._texts = Corpus(draw_neighbours, recipe.corpus_size, recipe.seed, "neighbours")
        self._pairs = Corpus(draw_pair, recipe.corpus_size, recipe.seed, "pairs")
        self._draws = Draws("gapbench pretraining", recipe.seed, "masks")
        self.bert = transformers.BertModel(encoder_config())
        _attend_to_alike(self.bert)
        width = self.bert.config.hidden_size
        self._word_bias = nn.Parameter(torch.zeros(len(WORD_IDS)))
        self._verdicts = nn.Linear(VERDICT_WIDTH, 2)
        self._contents = nn.Linear(width - VERDICT_WIDTH, 2 * len(WORD_IDS))
        nn.init.constant_(self._contents.bias, -4.0)  # one sentence has few of all words
        self._shared = nn.Linear(width, 1)
        self._places = nn.Linear(width, width)
        heads = {"verdicts": self._verdicts, "contents": self._contents, "shared": self._shared}
        heads["places"] = self._places
        self.module: nn.Module = nn.ModuleDict({"bert": self.bert, **heads})
        self.module.register_parameter("word_bias", self._word_bias)

    def losses(self, step: int) -> dict[str, Tensor]:
        """Return the losses of one batch of sentences and one of pairs."""
        n = self._recipe.batch_size
        neighbours = self._texts.batch(step, n)
        ids, types = tokens([[text] for text, _ in neighbours])
        intact = self._draws.uniforms(n) < 0.5
        disturbed = np.where(intact[:, None], ids, self._disturb(ids))
        words, _, pooled = self._read(ids, types, disturbed)
        order = _judge(self._verdicts(pooled[:, :VERDICT_WIDTH])[:, 0], intact[n // 2 :])
        contents = self._contents_loss(pooled, _contents(ids, types)[n // 2 :])
        after, after_types = tokens([[text] for _, text in neighbours])
        more_words, _, next_pooled = self._read(after, after_types, after)
        neighbour = self._neighbour_loss(pooled, next_pooled)
        words = 0.5 * (words + more_words)

        pairs = self._pairs.batch(step, n)
        together = np.array([verdict for *_, verdict in pairs])
        ids, types = tokens([texts for *texts, _ in pairs])
        differences = _contents(ids, types)[n // 2 :]
        more_words, states, pooled = self._read(ids, types, ids)
        return {
            "words": words + more_words,
            "order": order,
            "scene": _judge(self._verdicts(pooled[:, :VERDICT_WIDTH])[:, 1], together[n // 2 :]),
            "contents": 0.5 * (contents + self._contents_loss(pooled, differences)),
            "neighbour": neighbour,
            "shared": self._shared_loss(states, ids[n // 2 :], differences),
        }

    def _read(
        self, ids: NDArray[np.int64], types: NDArray[np.int64], shown: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the masked-word loss of the first half, states and pooled [CLS] of the second.

        The first half is `ids` with words masked; the second half is read from `shown`.
        """
        half = len(ids) // 2
        hidden = (ids >= len(SPECIALS)) & (
            self._draws.uniforms(*ids.shape) < self._recipe.mask_share
        )
        hidden[half:] = False
        inputs = np.concatenate([np.where(hidden, MASK, ids)[:half], shown[half:]])
        output = self.bert(
            input_ids=torch.from_numpy(inputs),
            token_type_ids=torch.from_numpy(types),
            attention_mask=torch.from_numpy((ids != PAD).astype(np.int64)),
        )
        at = torch.from_numpy(hidden)
        embedding = self.bert.embeddings.word_embeddings.weight
        logits = F.linear(output.last_hidden_state[at], embedding, self._word_bias)
        loss = F.cross_entropy(logits, torch.from_numpy(ids)[at])
        return loss, output.last_hidden_state[half:], output.pooler_output[half:]

    def _contents_loss(self, pooled: Tensor, contents: NDArray[np.float32]) -> Tensor:
        """Return the loss of the marked words, per marked word.

        Features are centred over the rows, and pushed to differ by `SPREAD` (the variance term of
        Bardes et al., VICReg, 2022). Otherwise they saturate early and ignore the sentence.
        """
        features = pooled[:, VERDICT_WIDTH:]
        total = F.binary_cross_entropy_with_logits(
            self._contents(features - features.mean(dim=0)),
            torch.from_numpy(contents),
            reduction="sum",
        )
        too_alike = F.relu(SPREAD - features.std(dim=0)).mean()
        return total / max(1.0, float(contents.sum())) + 2.0 * too_alike

    def _neighbour_loss(self, pooled: Tensor, next_pooled: Tensor) -> Tensor:
        """Return the loss of matching sentences with next sentences (InfoNCE, both ways)."""
        one, other = (F.normalize(self._places(each), dim=1) for each in (pooled, next_pooled))
        likeness = 10.0 * one @ other.T
        answer = torch.arange(len(one))
        return 0.5 * (F.cross_entropy(likeness, answer) + F.cross_entropy(likeness.T, answer))

    def _shared_loss(
        self, states: Tensor, ids: NDArray[np.int64], contents: NDArray[np.float32]
    ) -> Tensor:
        """Return the loss of telling whether each word is in both sentences."""
        own = contents[:, : len(WORD_IDS)] + contents[:, len(WORD_IDS) :]
        shared = 1.0 - np.take_along_axis(own, ids, axis=1)
        at = torch.from_numpy(ids >= len(SPECIALS))
        logits = self._shared(states)[..., 0]
        return F.binary_cross_entropy_with_logits(logits[at], torch.from_numpy(shared)[at])

    def _disturb(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Replace one or two words by random ones, or swap two neighbours, in every row."""
        disturbed = ids.copy()
        for row in disturbed:
            length = int((row >= len(SPECIALS)).sum())
            for _ in range(1 + self._draws.below(2)):
                at = 1 + self._draws.below(length - 1)
                if self._draws.chance(0.5):
                    row[[at, at + 1]] = row[[at + 1, at]]
                else:
                    row[at] = len(SPECIALS) + self._draws.below(len(WORD_IDS) - len(SPECIALS))
        return disturbed

    def save(self, folder: Path) -> None:
        """Write the BERT with its pooler and none of the heads."""
        self.bert.config.initializer_range = 0.02
        self.bert.config.hidden_dropout_prob = 0.1
        self.bert.config.attention_probs_dropout_prob = 0.1
        self.bert.save_pretrained(folder)


def _attend_to_alike(bert: Any) -> None:
    """Make equal words attend to each other in the first layer: keys equal queries, weak positions.

    Comparing two sentences needs exactly this, and from random weights it takes thousands of steps
    to emerge. Later layers stay free, since [CLS], which equals no word, must attend to all.
    Source: Trockman and Kolter, Mimetic Initialization of Self-Attention Layers, 2023.
    """
    with torch.no_grad():
        bert.embeddings.position_embeddings.weight.mul_(0.2)
        bert.embeddings.token_type_embeddings.weight.mul_(0.5)
        bert.pooler.dense.weight.mul_(0.25)
        attention = bert.encoder.layer[0].attention.self
        attention.key.weight.copy_(attention.query.weight)


def _judge(logits: Tensor, verdicts: NDArray[np.bool_]) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.from_numpy(verdicts).float())


def _contents(ids: NDArray[np.int64], types: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mark the words of only the first and of only the second sentence, (rows, 2 * words)."""
    present = np.zeros((2, len(ids), len(WORD_IDS)), dtype=bool)
    for segment in (0, 1):
        rows, columns = np.nonzero((ids >= len(SPECIALS)) & (types == segment))
        present[segment, rows, ids[rows, columns]] = True
    only = np.concatenate([present[0] & ~present[1], present[1] & ~present[0]], axis=1)
    return only.astype(np.float32)


class Decoder:
    """A tiny Llama that predicts the next word of stories."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._stories = Corpus(draw_story, recipe.corpus_size, recipe.seed, "stories")
        self.llama = transformers.LlamaForCausalLM(decoder_config())
        self.module: nn.Module = self.llama

    def losses(self, step: int) -> dict[str, Tensor]:
        """Return the next-word loss of one batch of stories."""
        ids = torch.from_numpy(tokens(self._stories.batch(step, self._recipe.batch_size))[0])
        logits = self.llama(input_ids=ids, use_cache=False).logits[:, :-1]
        return {"words": F.cross_entropy(logits.mT, ids[:, 1:], ignore_index=PAD)}

    def save(self, folder: Path) -> None:
        """Write the model."""
        self.llama.config.initializer_range = 0.02
        self.llama.save_pretrained(folder)


PRETRAINING_MODELS: dict[Architecture, Callable[[Recipe], PretrainingModel]] = {
    "encoder": Encoder,
    "decoder": Decoder,
}


def encoder_config() -> Any:
    """Return the shape of the tiny encoder, all dropout off."""
    return transformers.BertConfig(
        vocab_size=len(WORD_IDS), hidden_size=128, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=64, pad_token_id=PAD,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.08,
    )  # fmt: skip


def decoder_config() -> Any:
    """Return the shape of the tiny decoder."""
    return transformers.LlamaConfig(
        vocab_size=len(DECODER_IDS), hidden_size=128, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=192, max_position_embeddings=128, tie_word_embeddings=True,
        pad_token_id=PAD, bos_token_id=CLS, eos_token_id=SEP, initializer_range=0.05,
    )  # fmt: skip


def tokens(rows: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and sentence numbers, each (rows, longest): [CLS] a [SEP] b [SEP] ... [PAD]."""
    ids, types = [], []
    for row in rows:
        sentences = [[*(DECODER_IDS[word] for word in text.split(" ")), SEP] for text in row]
        ids.append([CLS, *(token for sentence in sentences for token in sentence)])
        types.append([0, *(k for k, sentence in enumerate(sentences) for _ in sentence)])
    longest = max(map(len, ids))
    padded = [[row + [0] * (longest - len(row)) for row in table] for table in (ids, types)]
    return np.array(padded[0], dtype=np.int64), np.array(padded[1], dtype=np.int64)


def build_tokenizer(kind: Architecture) -> Any:
    """Return the word-level tokenizer of a backbone, lower case.

    The decoder's text begins with [CLS] and ends each sentence with [SEP]; it has no token types.
    """
    ids = DECODER_IDS if kind == "decoder" else WORD_IDS
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))  # noqa: S106 - a vocabulary entry
    words.normalizer = tokenizers.normalizers.Lowercase()
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    names |= {"sep_token": "[SEP]", "mask_token": "[MASK]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    if kind == "decoder":
        names |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
        inputs.remove("token_type_ids")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, model_input_names=inputs, model_max_length=64, **names
    )
