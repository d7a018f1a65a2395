"""PEFT's adapter in the state of one of our runs, trained beside it by plain framework parts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.losses import run_losses
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.train_state import Phase, TrainState
from gapbench.bench.data.batching import collate, training_batches
from gapbench.bench.models.run_axis import StackedLinear
from gapbench.methods._shared.lowrank import StackedLora
from tests.support.small_stack import CPU, load_backbone, make_runs, make_task, random_data

TARGETS = {"bert": ["query", "value"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}
OUTPUTS = 3
RATE = 0.01


def ready(
    folder: Path, method: str, training: dict[str, Any], **config: Any
) -> tuple[AnyMethod, TrainState]:
    """Return one run of a method, ready for its first of 20 steps at a constant rate."""
    constant = {"learning_rate": RATE, "warmup_fraction": 0.0, "schedule": "constant"}
    runs = make_runs(
        method, (4,), configs=[config], trainings=[constant | training], outputs=OUTPUTS
    )
    made = set_up(runs, load_backbone(folder, runs), random_data(outputs=OUTPUTS), CPU)
    made[0].begin(made[1], Phase(), [runs[0].cell.training], 20)
    return made


def twin(folder: Path, family: str, state: TrainState, **settings: Any) -> nn.Module:
    """Return PEFT's LoRA model with the numbers of our run."""
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=OUTPUTS)
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float64
    )
    adapter = peft.LoraConfig(
        target_modules=TARGETS[family],
        fan_in_fan_out=family == "gpt2",
        modules_to_save=["classifier", "score"],
        **settings,
    )
    adapted: nn.Module = peft.get_peft_model(model, adapter)
    with torch.no_grad():
        for ours, theirs in pairs(state, adapted):
            theirs.copy_(ours)
    return adapted


def pairs(state: TrainState, adapted: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every trained tensor of our only run beside PEFT's."""
    for name, module in state.model.named_modules():
        theirs = "base_model.model." + name
        if isinstance(module, StackedLora):
            layer = adapted.get_submodule(theirs)
            yield module.lora_A[0], layer.lora_A["default"].weight
            yield module.lora_B[0], layer.lora_B["default"].weight
            if "lora_magnitude" in module._parameters:
                yield module.lora_magnitude[0], layer.lora_magnitude_vector["default"].weight
        elif isinstance(module, StackedLinear):
            head = adapted.get_submodule(theirs).modules_to_save["default"]
            yield module.weight[0], head.weight
            if module.bias is not None:
                yield module.bias[0], head.bias


def share_masks(state: TrainState, adapted: nn.Module) -> None:
    """Let PEFT's layers drop the input features that ours drop."""
    for name, module in state.model.named_modules():
        if isinstance(module, StackedLora):
            layer = adapted.get_submodule("base_model.model." + name)
            layer.lora_dropout["default"] = _Masked(module.update_input)


class _Masked(nn.Module):
    def __init__(self, drop: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x)


def assert_same_training(
    method: AnyMethod,
    state: TrainState,
    adapted: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 20,
) -> None:
    """Train both on the same batches; losses and every number agree to 1e-9 all along."""
    data = random_data(outputs=OUTPUTS)
    order = training_batches(data.train.lengths, 8, "toy", 4)
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == state.bank.values.shape[1]
    for _ in range(steps):
        batch = collate(data.train, next(order)[None], CPU)
        state.model.train()
        adapted.train()
        logits = adapted(**batch.inputs).logits
        loss = run_losses(logits, batch.targets, make_task(), 1)
        optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        report = method.step(state, {"train": batch})
        state.axis.step += 1
        torch.testing.assert_close(report.losses, loss.detach(), rtol=0, atol=1e-9)
    for ours, theirs in pairs(state, adapted):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
