"""Any configuration of the PEFT library in the same engine, as a reference for our methods.

The name carries PEFT's type: ``peft:LORA``, ``peft:IA3``, ``peft:VERA``. Runs are not stacked, and
random draws come from the framework's generator, seeded again for every step of every run.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from gapbench.bench.adaptation.method import Method, MethodConfig
from gapbench.bench.adaptation.train_state import StepReport, TrainState
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import ConfigError, MergeError
from gapbench.bench.core.schema import suggest
from gapbench.bench.core.seeding import seed_of
from gapbench.bench.data.batching import Batch
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.bf16 import InFull, full
from gapbench.bench.models.hub_kernels import without_hub_kernels
from gapbench.bench.models.merge import Adapter, head_parts, head_tensors, plain_weights
from gapbench.bench.models.quantized import dequantize

# Types that need extra calls in the loop, add tokens to the input, or load other weights.
_UNSUPPORTED = {
    "ADALORA",
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "MIXED",
    "MULTITASK_PROMPT_TUNING",
    "POLY",
    "PREFIX_TUNING",
    "PROMPT_TUNING",
    "P_TUNING",
    "SHADOW",
    "TRAINABLE_TOKENS",
    "XLORA",
}

# Types that change the backbone's logits at the start, and values of `init_...` that do so.
_BEGINS_ELSEWHERE = {"C3A", "FOURIERFT", "UNILORA", "VBLORA"}
_RANDOM_STARTS = (False, "loftq")

# Names of initial values that leave the backbone's weights as they are.
_BESIDE_THE_WEIGHTS = {"gaussian", "eva", "orthogonal"}

# Settings that name a module which PEFT then imports.
_IMPORTING = {"auto_mapping", "megatron_config", "megatron_core"}


class PeftSettings(MethodConfig):
    """Settings passed to PEFT unchanged."""

    settings: dict[str, Any] = Field(
        default={}, description="fields of PEFT's own configuration class, such as r and lora_alpha"
    )

    @field_validator("settings")
    @classmethod
    def _without_code(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if named := sorted(_IMPORTING & settings.keys()):
            raise ValueError(f"may not name program code to import, as {named[0]!r} does")
        return settings


class Peft(Method[PeftSettings]):
    """A PEFT adapter in the plain loop."""

    name = "peft"
    reference = "PEFT library, huggingface/peft"
    Config = PeftSettings
    stackable = False

    @classmethod
    def check_name(cls, name: str) -> None:
        """Require a type that PEFT knows and that the plain loop can train."""
        kind = name.partition(":")[2]
        allowed = sorted(set(_config_classes()) - _UNSUPPORTED)
        if kind not in allowed:
            raise ConfigError(
                f"method {name!r}: give PEFT's type after a colon, as in 'peft:LORA'; "
                + suggest(kind, allowed)
            )

    @classmethod
    def supports(cls, task: Task, backbone: Backbone, config: PeftSettings) -> str | None:  # noqa: ARG003
        """Refuse initial values that PEFT would write into weights of few bits."""
        if backbone.quantization is None:
            return None
        for name, value in config.settings.items():
            moves = isinstance(value, str) and value not in _BESIDE_THE_WEIGHTS
            if name.startswith("init_") and moves:
                return (
                    f"setting {name!r} is {value!r}, which changes weights of the backbone, but "
                    f"they are in {backbone.quantization}; leave it out"
                )
        return None

    @property
    def starts_at_backbone(self) -> bool:
        """Whether the type and its initial values leave the logits as they are."""
        settings = self.configs[0].settings
        first = [value for name, value in settings.items() if name.startswith("init_")]
        return self.kind not in _BEGINS_ELSEWHERE and not any(v in _RANDOM_STARTS for v in first)

    @property
    def kind(self) -> str:
        """PEFT's name of the type."""
        return self.full_name.partition(":")[2]

    @classmethod
    def accumulation_unsupported_reason(cls, config: PeftSettings) -> str | None:
        """Refuse dropout of PEFT's own, which draws for a part as for a batch of its own."""
        drops = [n for n, value in config.settings.items() if "dropout" in n and value]
        return f"its {drops[0]} is drawn for each part anew; set it to 0" if drops else None

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Let PEFT inject its adapter; our head still trains beside it."""
        peft = _library()
        for parameter in model.parameters():
            # PEFT changes some in place, but other runs share them.
            parameter.data = full(parameter).detach().clone()
        try:
            config = _config_classes()[self.kind](**self.configs[0].settings)
            with self._seeded("peft", "initial values"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrapped: nn.Module = peft.get_peft_model(model, config)
        except (NotImplementedError, TypeError, ValueError) as error:  # all of them PEFT's own
            raise ConfigError(
                f"method {self.full_name!r}: PEFT refuses its settings: {error}"
            ) from None
        if self.configs[0].settings.get("target_modules") == "all-linear":
            self._require_experts(wrapped, backbone)
        for part in backbone.head:
            model.get_submodule(part).requires_grad_(True)  # noqa: FBT003 - the framework's signature
        return wrapped.to(self.axis.device, self.axis.dtype)

    def _require_experts(self, wrapped: nn.Module, backbone: Backbone) -> None:
        """Refuse 'all-linear' where PEFT, which knows experts of some families, left some out."""
        adapted = {
            f"{name}.{module.parameter_name}".replace(".base_layer", "")
            for name, module in wrapped.named_modules()
            if hasattr(module, "parameter_name")  # of PEFT's layers for bare parameters
        }
        left = [
            name
            for name in backbone.stacked_weights()
            if not any(each.endswith(f".{name}") for each in adapted)
        ]
        if left:
            raise ConfigError(
                f"method {self.full_name!r}: 'target_modules' is 'all-linear', but PEFT leaves out "
                f"{len(left)} weights that hold several linear maps in one tensor, such as "
                f"{left[0]}; name the layers, and such weights in 'target_parameters'"
            )

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make the plain update with the framework's generator seeded by run and step."""
        with self._seeded("peft", "step", str(self.axis.step)):
            return super().step(state, batches)

    def merge(self, state: TrainState, position: int) -> dict[str, Tensor]:
        """Return plain weights, with the adapter folded in by PEFT itself."""
        with InFull():
            adapted: Any = copy.deepcopy(state.model)
            dequantize(adapted)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                merged = adapted.merge_and_unload()
        except NotImplementedError as error:  # how PEFT says that a type has no plain form
            raise MergeError(f"PEFT cannot fold in {self.full_name!r}: {error}") from None
        return plain_weights(merged, position)

    def export(self, state: TrainState, position: int) -> Adapter:
        """Return the adapter as PEFT would save it, with our head among the modules saved whole."""
        model: Any = state.model  # PEFT's, which `adapt` has made
        # Asking about embeddings would look for the backbone on the hub.
        tensors = _library().get_peft_model_state_dict(model, save_embedding_layers=False)
        plain = model.get_base_model()
        saved = {name: values.detach().clone() for name, values in tensors.items()}
        config = _plain_data(model.peft_config["default"].to_dict())
        kind = state.task.head.of(plain.config).peft_task
        config |= {"task_type": kind, "inference_mode": True}
        config["modules_to_save"] = head_parts(plain) or None
        return Adapter(config, saved | head_tensors(plain, position))

    @contextmanager
    def _seeded(self, *parts: str) -> Iterator[None]:
        """Seed the framework's generators inside the block, and restore them after it."""
        device = self.axis.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed_of("masks", self.axis.seeds[0], *parts))
            yield


def _plain_data(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return PEFT's settings as plain data for JSON."""
    return {
        name: sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        for name, value in settings.items()
    }


def _library() -> Any:
    """Return PEFT, which imports bitsandbytes where that is installed."""
    try:
        with without_hub_kernels():
            import peft
    except ImportError:
        raise ConfigError(
            "methods 'peft:<TYPE>' need the PEFT library; install gapbench[peft]"
        ) from None
    return peft


def _config_classes() -> Mapping[str, Any]:
    kinds = _library().PEFT_TYPE_TO_CONFIG_MAPPING
    return {str(getattr(kind, "value", kind)): cls for kind, cls in kinds.items()}
