"""Any configuration of the PEFT library in the same engine, as a reference for our own methods.

The name carries PEFT's type: ``peft:LORA``, ``peft:IA3``, ``peft:VERA``. Runs are not stacked, and
random draws come from the framework's generator, seeded anew for every step of every run.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from torch import nn

from bench.backbone import Backbone
from bench.batches import Batch
from bench.errors import ConfigError
from bench.method import Method, MethodConfig, StepReport, TrainState
from bench.schema import suggest
from bench.seed import seed_of

# Types that need calls of their own in the loop, add tokens to the input, or load other weights.
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
    "TRAINABLE_TOKENS",
    "XLORA",
}


class PeftSettings(MethodConfig):
    """Settings handed to PEFT as they are."""

    settings: dict[str, Any] = Field(
        default={}, description="fields of PEFT's own configuration class, such as r and lora_alpha"
    )


class Peft(Method[PeftSettings]):
    """A PEFT adapter in the plain loop."""

    name = "peft"
    reference = "PEFT library, huggingface/peft"
    Config = PeftSettings
    stackable = False

    @classmethod
    def check_name(cls, name: str) -> None:
        """Demand a type that PEFT knows and that the plain loop can train."""
        kind = name.partition(":")[2]
        allowed = sorted(set(_config_classes()) - _UNSUPPORTED)
        if kind not in allowed:
            raise ConfigError(
                f"method {name!r}: give PEFT's type after a colon, as in 'peft:LORA'; "
                + suggest(kind, allowed)
            )

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Let PEFT inject its adapter; our own head goes on training beside it."""
        from peft import get_peft_model

        kind = self.full_name.partition(":")[2]
        try:
            config = _config_classes()[kind](**self.configs[0].settings)
            with self._seeded("peft", "initial values"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrapped: nn.Module = get_peft_model(model, config)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"method {self.full_name!r}: PEFT refuses its settings: {error}"
            ) from None
        for part in backbone.head:
            model.get_submodule(part).requires_grad_(True)  # noqa: FBT003 - the framework's signature
        return wrapped.to(self.axis.device, self.axis.dtype)

    def step(self, state: TrainState, batches: Mapping[str, Batch]) -> StepReport:
        """Make the plain update with the framework's generator seeded by run and step."""
        with self._seeded("peft", "step", str(self.axis.step)):
            return super().step(state, batches)

    @contextmanager
    def _seeded(self, *parts: str) -> Iterator[None]:
        """Seed the framework's generators for a while, and restore them."""
        device = self.axis.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed_of("masks", self.axis.seeds[0], *parts))
            yield


def _config_classes() -> Mapping[str, Any]:
    try:
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError:
        raise ConfigError(
            "methods 'peft:<TYPE>' need the PEFT library; install gapbench[peft]"
        ) from None
    return {
        str(getattr(kind, "value", kind)): cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()
    }
