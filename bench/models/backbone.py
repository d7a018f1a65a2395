"""A pretrained model with a task head: gives copies, and names its adaptable layers.

`bench.models.loading` loads it from files.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from gapbench.bench.config.run import Fingerprint, Quantization
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.core.schema import suggest
from gapbench.bench.models.bf16 import store
from gapbench.bench.models.initial_adapter import InitialAdapter
from gapbench.bench.models.pretrained_weights import is_inside
from gapbench.bench.models.quantized import Quantized, quantize

# The projections that LoRA adapts by default, by the names that families give to layers of an
# attention module: query and value (Hu et al. 2021, section 4.2), or the fused projection where
# there is only that.
_DEFAULT_TARGETS = (
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("query_proj", "value_proj"),
    ("q_lin", "v_lin"),
    ("q", "v"),
    ("q_head", "v_head"),
    ("project_q", "project_v"),
    ("Wq", "Wv"),
    ("query_key_value",),
    ("qkv_proj",),
    ("Wqkv",),
    ("c_attn",),
)
# DeBERTa v1's fused projection; other families use the name outside attention.
_DEBERTA_TARGETS = (("in_proj",),)


NEVER_CALLED = {"dt_proj", "xpath_unitseq2_embeddings"}
"""Layers whose numbers state-space models read directly, and one that MarkupLM does not use."""
# Names that families give to the number of positions, beyond which their tables end.
_POSITIONS = ("max_position_embeddings", "max_seq_len", "max_target_positions")


def positions_after_padding(model: nn.Module) -> Any:
    """Return the table of a model that counts positions from the one after the padding token.

    RoBERTa and related models do; None for all others.
    """
    return next(
        (
            module
            for name, module in model.named_modules()
            if name.endswith("position_embeddings")
            and getattr(module, "padding_idx", None) is not None
        ),
        None,
    )


@dataclass(frozen=True)
class Reader:
    """How a backbone reads text.

    Attributes:
        window: largest number of tokens in one input sequence.
        positions: number of positions of what writes, such as LED's decoder; None if unbounded. A
            tokenizer may set a smaller window.
        vocabulary: rows of the embedding, None if not known.
        segments: number of segment embeddings (texts of an input); None if there are none.
        encoder_decoder: whether prompts are read by an encoder, as texts of their own.
    """

    tokenizer: Any
    window: int
    positions: int | None = None
    vocabulary: int | None = None
    segments: int | None = None
    encoder_decoder: bool = False


class Backbone:
    """A pretrained model with a head of ``outputs`` outputs; `model` gives fresh copies.

    Copies share the frozen weights, so another stack costs no second copy of them.

    Attributes:
        head: names of the outermost modules of the head.
        absent: weights of the head that are missing from the checkpoint, or have another size.
        reading: settings without which the model library would not read all of the checkpoint.
        kept: initial values of the head's weights; None if every run draws its own.
        start: the initial adapter of methods; the weights of `model` do not include it.
        packs: whether several texts may share a row; see `bench.profiling.self_check`.
        quantization: format of the linear layers; None if their weights are stored in full.
    """

    reading: Mapping[str, Any] = MappingProxyType({})
    kept: Mapping[str, Tensor] | None = None
    start: InitialAdapter | None = None
    packs: bool = True
    quantization: Quantization | None = None

    def __init__(
        self,
        fingerprint: Fingerprint,
        pristine: nn.Module,
        tokenizer: Any,
        head: Sequence[str],
        absent: Sequence[str] = (),
    ) -> None:
        self.fingerprint = fingerprint
        self.tokenizer = tokenizer
        self.head = tuple(head)
        self.absent = tuple(absent)
        self._pristine = pristine

    @property
    def config(self) -> Any:
        """The model library's configuration."""
        return self._pristine.config

    @property
    def family(self) -> str:
        """The model library's name of the architecture, such as ``bert``."""
        return str(self.config.model_type)

    @property
    def reader(self) -> "Reader":
        """The tokenizer and the window of the model, as encoding needs them."""
        positions, longest = self.positions, int(self.tokenizer.model_max_length)
        written = getattr(self.config, "max_decoder_position_embeddings", None)  # of LED
        embedding = embedding_weight(self._pristine)
        return Reader(
            self.tokenizer,
            min(longest, positions or longest),
            written or positions,
            None if embedding is None else len(embedding),
            getattr(self.config, "type_vocab_size", None) or None,
            bool(self.config.is_encoder_decoder),
        )

    @property
    def positions(self) -> int | None:
        """Number of positions of the model, None if unbounded."""
        if (table := positions_after_padding(self._pristine)) is not None:
            return len(table.weight) - int(table.padding_idx) - 1
        found = (getattr(self.config, name, None) for name in _POSITIONS)
        positions = next((count for count in found if count), None)
        return int(positions) if positions and positions > 0 else None  # -1 in XLNet: unbounded

    def model(self) -> nn.Module:
        """Return a copy with every parameter frozen and sharing storage with the original.

        Where some are stored in bfloat16, compute with it inside `bench.models.bf16.InFull`.
        """
        return sharing_copy(self._pristine)

    def starting_from(self, start: InitialAdapter) -> "Backbone":
        """Return the same backbone with an initial adapter.

        Raises:
            BackboneError: if the adapter belongs to another backbone, or is not made of low-rank
                updates.
        """
        parts = {name for name, _ in self._pristine.named_children()}
        own = [n for n in start.saved if n.split(".")[0] in parts and not self.in_head(n)]
        incompatibility = (
            f"it also changes {own[0]}"
            if own
            else start.layer_incompatibility(self.linear_layers())
        )
        if incompatibility is not None:
            raise BackboneError(
                f"adapter {start.name!r} does not fit backbone {self.fingerprint.name!r}: "
                f"{incompatibility}; give one that was trained on this backbone"
            )
        begun = copy.copy(self)
        begun.start = start
        return begun

    def quantize(self, quantization: Quantization) -> None:
        """Store the linear layers in few bits; embeddings, norms and heads stay as they are.

        Raises:
            BackboneError: if there is none, or experts would stay as they are.
        """
        if experts := self.stacked_weights():
            raise BackboneError(
                f"backbone {self.fingerprint.name!r}: field 'quantization' is {quantization}, but "
                f"{len(experts)} weights, such as {experts[0]}, hold several linear maps in one "
                "tensor, as in experts, and would stay in full; leave it out"
            )
        kept = getattr(self._pristine, "_keep_in_fp32_modules_strict", None) or ()
        names = [n for n in self.linear_layers() if not any(part in n for part in kept)]
        if not names:
            raise BackboneError(
                f"backbone {self.fingerprint.name!r} has no linear layers, so that field "
                f"'quantization', given as {quantization}, changes nothing; leave it out"
            )
        quantize(self._pristine, names, quantization)
        self.quantization = quantization

    def store_in_bf16(self) -> None:
        """Store the weights that bfloat16 holds exactly in two bytes each, outside any head."""
        store(self._pristine, self.head)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells its weights from others."""
        kind = {"quantization": self.quantization} if self.quantization else {}
        return self.fingerprint.model_dump(mode="json") | kind

    @property
    def stored_bytes(self) -> int:
        """Bytes of its weights in memory."""
        stored = [*self._pristine.parameters(), *self._pristine.buffers()]
        found = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in stored}
        return sum(storage.nbytes() for storage in found.values())

    def linear_layers(self) -> dict[str, nn.Module]:
        """Return the adaptable layers by name: linear or Conv1D, called, outside any head."""
        pristine: Any = self._pristine
        language_head = pristine.get_output_embeddings()
        return {
            name: module
            for name, module in pristine.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
            and module is not language_head
            and name.rpartition(".")[2] not in NEVER_CALLED
            and not self.in_head(name)
        }

    def stacked_weights(self) -> list[str]:
        """Return the weights that hold several linear maps in one tensor, as in experts.

        They do not belong to linear layers, so nothing adapts them. Doge keeps its experts in
        embeddings of its blocks; T5's of relative positions are as wide as it has heads.
        """
        width = getattr(self._pristine.config, "hidden_size", None)
        return [
            f"{name}.{own}" if name else own
            for name, module in self._pristine.named_modules()
            if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
            for own, parameter in module.named_parameters(recurse=False)
            if (parameter.dim() == 3 and len(parameter) > 1)
            or (isinstance(module, nn.Embedding) and _in_block(name) and len(parameter.T) == width)
        ]

    def in_head(self, name: str) -> bool:
        """Whether a module belongs to the task head."""
        return is_inside(name, self.head)

    def target_layers(self, targets: str | Sequence[str]) -> list[str]:
        """Resolve LoRA targets to layer names.

        Args:
            targets: "default" (query and value), "all-linear", or name endings.

        Raises:
            BackboneError: if a target matches no layer, there is no default, or no block has a
                linear layer.
        """
        layers = list(self.linear_layers())
        if targets == "all-linear":
            if not any(map(_in_block, layers)):
                raise BackboneError(
                    f"backbone {self.fingerprint.name!r}: no block of the family {self.family!r} "
                    "has a linear layer that can be adapted; use the method 'head' or 'full'"
                )
            return layers
        if targets == "default":
            found = self._default_targets(layers)
            if not found:
                raise BackboneError(
                    f"backbone {self.fingerprint.name!r}: no default targets for the family "
                    f"{self.family!r}, where no query and value projections are known; set "
                    "'targets' to layer names or 'all-linear'"
                )
            return found
        endings = [targets] if isinstance(targets, str) else list(targets)
        if not endings:
            raise BackboneError(
                "'targets' names no layer, so nothing but the head would train; name layers, set "
                "it to 'default' or 'all-linear', or use the method 'head'"
            )
        for ending in endings:
            if not any(_ends_with(name, ending) for name in layers):
                present = sorted({name.rpartition(".")[2] for name in layers})
                raise BackboneError(
                    f"backbone {self.fingerprint.name!r}: target {ending!r} matches no layer; "
                    + suggest(ending, present)
                )
        return [name for name in layers if any(_ends_with(name, ending) for ending in endings)]

    def _default_targets(self, layers: Sequence[str]) -> list[str]:
        """Return the query and value projections of every attention module."""
        names: dict[str, set[str]] = defaultdict(set)
        for layer in layers:
            parent, _, own = layer.rpartition(".")
            names[parent].add(own)
        known = _DEFAULT_TARGETS + (_DEBERTA_TARGETS if self.family == "deberta" else ())
        chosen = {
            f"{parent}.{own}"
            for parent, present in names.items()
            for own in next((each for each in known if present.issuperset(each)), ())
        }
        return [layer for layer in layers if layer in chosen]


def sharing_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model with every parameter frozen and sharing storage with it."""
    shared: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()
    }
    quantized = [module for module in model.modules() if isinstance(module, Quantized)]
    shared |= {id(stored): stored for module in quantized for stored in module.buffers()}
    return copy.deepcopy(model, shared)


def embedding_weight(model: Any) -> Tensor | None:
    """Return the weight that embeds the tokens, None if no single one does."""
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:  # Canine hashes characters into several embeddings
        return None
    weight: Tensor | None = getattr(embedding, "weight", None)
    return weight


def _in_block(name: str) -> bool:
    """Whether a module lies in one of a model's blocks, which are numbered."""
    return any(part.isdigit() for part in name.split("."))


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith("." + ending)
