"""Load a pretrained model with a task head, hand out copies of it, and name its adaptable layers.

Weights come from safetensors only, and no code is ever loaded with them. The head is whatever the
checkpoint does not contain: drawn anew for every run from the run's own seed, the same for
all methods at that seed.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from bench.config import Fingerprint, Precision
from bench.errors import BackboneError
from bench.failure import status_of
from bench.record import Status
from bench.schema import suggest
from bench.sources import backbone_folder
from bench.start import Start
from bench.tasks import Kind

Head = Literal["sequence", "causal", "span"]

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.float32,  # of all numbers at rest; see `bench.half`
    "fp64": torch.float64,
}

# The projections that LoRA adapts by default: query and value (Hu et al. 2021, section 4.2), or the
# fused projection where a family has only that.
DEFAULT_TARGETS: dict[str, tuple[str, ...]] = {
    "bert": ("query", "value"),
    "roberta": ("query", "value"),
    "xlm-roberta": ("query", "value"),
    "electra": ("query", "value"),
    "deberta": ("in_proj",),
    "deberta-v2": ("query_proj", "value_proj"),
    "distilbert": ("q_lin", "v_lin"),
    "gpt2": ("c_attn",),
    "gpt_neox": ("query_key_value",),
    "llama": ("q_proj", "v_proj"),
    "mistral": ("q_proj", "v_proj"),
    "qwen2": ("q_proj", "v_proj"),
    "qwen3": ("q_proj", "v_proj"),
    "gemma": ("q_proj", "v_proj"),
    "gemma2": ("q_proj", "v_proj"),
    "phi3": ("qkv_proj",),
    "opt": ("q_proj", "v_proj"),
}
HEADS: dict[Kind, Head] = {
    "classification": "sequence",
    "regression": "sequence",
    "generation": "causal",
    "choice": "causal",
    "span": "span",
}
_AUTO_CLASSES: dict[Head, Any] = {
    "sequence": transformers.AutoModelForSequenceClassification,
    "causal": transformers.AutoModelForCausalLM,
    "span": transformers.AutoModelForQuestionAnswering,
}
_LIBRARY_NAMES: dict[Head, str] = {
    "sequence": "SEQUENCE_CLASSIFICATION",
    "causal": "CAUSAL_LM",
    "span": "QUESTION_ANSWERING",
}
_HEAD_NAMES = ("classifier", "score", "pre_classifier", "qa_outputs")


@dataclass(frozen=True)
class Reader:
    """How a backbone reads text.

    Attributes:
        window: most tokens of one sequence.
    """

    tokenizer: Any
    window: int


class Backbone:
    """A pretrained model with a head of ``outputs`` outputs; `model` gives fresh copies.

    Copies share the frozen weights, so that one more stack costs no second copy of them.

    Attributes:
        start: the adapter that methods start from; it is not in the weights of `model`.
    """

    start: Start | None = None

    def __init__(
        self, fingerprint: Fingerprint, pristine: nn.Module, tokenizer: Any, head: Sequence[str]
    ) -> None:
        self.fingerprint = fingerprint
        self.tokenizer = tokenizer
        self.head = tuple(head)
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
        """What encoding needs: the tokenizer and the window."""
        positions = getattr(self.config, "max_position_embeddings", None)
        # RoBERTa and its kin count positions from the one after the padding token.
        taken = self.config.pad_token_id + 1 if "roberta" in self.family else 0
        known = [int(positions) - taken] if positions else []
        return Reader(self.tokenizer, min([*known, int(self.tokenizer.model_max_length)]))

    def model(self) -> nn.Module:
        """Return a copy with every parameter frozen and sharing storage with the original."""
        shared = {
            id(p): nn.Parameter(p.detach(), requires_grad=False)
            for p in self._pristine.parameters()
        }
        return copy.deepcopy(self._pristine, dict(shared))

    def starting_from(self, start: Start) -> "Backbone":
        """Return the same backbone with an adapter that methods start from.

        Raises:
            BackboneError: if the adapter is that of another backbone, or changes more than
                low-rank updates can.
        """
        parts = {name for name, _ in self._pristine.named_children()}
        own = [n for n in start.saved if n.split(".")[0] in parts and not self.in_head(n)]
        misfit = f"it also changes {own[0]}" if own else start.misfit(self.linear_layers())
        if misfit is not None:
            raise BackboneError(
                f"adapter {start.name!r} does not fit backbone {self.fingerprint.name!r}: "
                f"{misfit}; give one that was trained on this backbone"
            )
        begun = copy.copy(self)
        begun.start = start
        return begun

    def linear_layers(self) -> dict[str, nn.Module]:
        """Return the adaptable layers by name: linear or Conv1D, outside any head."""
        pristine: Any = self._pristine
        language_head = pristine.get_output_embeddings()
        return {
            name: module
            for name, module in pristine.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
            and module is not language_head
            and not self.in_head(name)
        }

    def in_head(self, name: str) -> bool:
        """Whether a module belongs to the task head."""
        return any(name == part or name.startswith(part + ".") for part in self.head)

    def target_layers(self, targets: str | Sequence[str]) -> list[str]:
        """Resolve LoRA targets to layer names.

        Args:
            targets: "default" (query and value, by family), "all-linear", or name endings.

        Raises:
            BackboneError: if a target matches no layer, or the family has no default.
        """
        layers = list(self.linear_layers())
        if targets == "all-linear":
            return layers
        if targets == "default":
            if self.family not in DEFAULT_TARGETS:
                raise BackboneError(
                    f"backbone {self.fingerprint.name!r}: no default targets for the family "
                    f"{self.family!r}; set 'targets' to layer names or 'all-linear'"
                )
            targets = DEFAULT_TARGETS[self.family]
        endings = [targets] if isinstance(targets, str) else list(targets)
        for ending in endings:
            if not any(_ends_with(name, ending) for name in layers):
                present = sorted({name.rpartition(".")[2] for name in layers})
                raise BackboneError(
                    f"backbone {self.fingerprint.name!r}: target {ending!r} matches no layer; "
                    + suggest(ending, present)
                )
        return [name for name in layers if any(_ends_with(name, ending) for ending in endings)]


def unfit(name: str, kind: Kind) -> str | None:
    """Return the reason why a backbone cannot be asked tasks of a kind, None if it can.

    Raises:
        BackboneError: if its configuration cannot be read.
    """
    config = read_config(name)
    mapping = getattr(transformers, f"MODEL_FOR_{_LIBRARY_NAMES[HEADS[kind]]}_MAPPING")
    masked = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    if type(config) not in mapping or (HEADS[kind] == "causal" and masked):
        what = "writes no text" if HEADS[kind] == "causal" else "has no head for it"
        return f"a backbone of the family {config.model_type!r} {what}: {kind} needs another"
    return None


@lru_cache(maxsize=1)
def load(
    name: str, fingerprint: Fingerprint, kind: Kind, outputs: int, precision: Precision
) -> Backbone:
    """Load a backbone (built-in name, folder or pinned hub id) for a kind of task.

    The last one is kept, since stacks come in the order of tasks and backbones.

    Raises:
        BackboneError: if it cannot be read, or has no such head.
    """
    tokenizer = load_tokenizer(name)
    try:
        with _quiet():
            config = read_config(name, num_labels=outputs)
            _switch_off_dropout(config)
            config.pad_token_id = tokenizer.pad_token_id
            read = partial(
                _AUTO_CLASSES[HEADS[kind]].from_pretrained,
                **_location(name),
                config=config,
                dtype=DTYPES[precision],
                use_safetensors=True,
                output_loading_info=True,
                attn_implementation=None,  # fused where the family has it, else plain
            )
            model, info = read()
            for names in _other_names(model):
                if _input_embedding(model) in info["missing_keys"]:
                    model, info = read(key_mapping=names)
    except Exception as error:
        if status_of(error) == Status.OUT_OF_MEMORY:
            raise
        raise _unreadable(name, "cannot be loaded", error) from None
    if getattr(model, "_hf_peft_config_loaded", False):
        raise BackboneError(f"backbone {name!r} holds an adapter too; give one without")
    model.eval()
    missing = set(info["missing_keys"]) - set(getattr(model, "_tied_weights_keys", None) or ())
    return Backbone(fingerprint, model, tokenizer, _head_modules(model, sorted(missing)))


def _other_names(model: Any) -> list[dict[str, str]]:
    """Return under which other names, by pattern, a checkpoint may hold a model's weights."""
    # The library's decoders with a head for spans have another name for what is inside.
    inside = {r"^model\.": f"{model.base_model_prefix}."}
    # An embedding tied to a language-model head may be stored under that one's name alone.
    tied = {r"^lm_head\.weight$": _input_embedding(model)}
    return [inside, tied, inside | tied]


def read_config(name: str, **settings: Any) -> Any:
    """Return the model library's configuration of a backbone, with other settings.

    Raises:
        BackboneError: if it cannot be read.
    """
    try:
        return transformers.AutoConfig.from_pretrained(**_location(name), **settings)
    except Exception as error:
        raise _unreadable(name, "cannot be loaded", error) from None


def load_tokenizer(name: str) -> Any:
    """Load a backbone's tokenizer; a missing padding token is set to the end-of-text token.

    Raises:
        BackboneError: if there is none.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**_location(name))
    except Exception as error:
        raise _unreadable(name, "its tokenizer cannot be loaded", error) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def _input_embedding(model: Any) -> str:
    """Return the name of the weight that embeds the tokens."""
    weight = model.get_input_embeddings().weight
    return str(next(name for name, p in model.named_parameters() if p is weight))


def _head_modules(model: nn.Module, missing_keys: Sequence[str]) -> list[str]:
    owners = {key.rpartition(".")[0] for key in missing_keys}
    owners |= {name for name in _HEAD_NAMES if hasattr(model, name)}
    # Only the outermost modules: `classifier` stands for `classifier.dense`.
    return sorted(
        name for name in owners if not any(name.startswith(other + ".") for other in owners)
    )


def _switch_off_dropout(config: Any) -> None:
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, int | float):
            setattr(config, name, 0.0)


def _unreadable(name: str, what: str, error: Exception) -> BackboneError:
    """Return what to say of files that the model library cannot read.

    They may hold anything, so that it may raise anything, from deep inside.
    """
    if "trust_remote_code" in str(error):
        cause = (
            "it needs program code of its own, which is never run; give a family that the model "
        )
        return BackboneError(f"backbone {name!r} {what}: {cause}library knows")
    kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
    return BackboneError(f"backbone {name!r} {what}: {kind}{error}")


def _location(name: str) -> dict[str, Any]:
    """Return where the model library finds a backbone, and how far it may go for it."""
    folder = backbone_folder(name)
    repository, _, revision = name.partition("@")
    return {
        "pretrained_model_name_or_path": repository if folder is None else str(folder),
        "revision": revision if folder is None else None,
        "local_files_only": folder is not None,
        "trust_remote_code": False,
    }


def _ends_with(name: str, ending: str) -> bool:
    return name == ending or name.endswith("." + ending)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's table of newly initialised weights: here they are the point."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
