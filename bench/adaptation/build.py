"""From runs to a trainable model: load a backbone, adapt a copy, lay out its parameters."""

from collections.abc import Sequence

import numpy as np
import torch

from gapbench.bench.adaptation import registry, start_check
from gapbench.bench.adaptation.method import AnyMethod
from gapbench.bench.adaptation.optim import ParameterBank
from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.config.run import Cell, Run
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.data.sources import Sources
from gapbench.bench.models import (
    attention,
    head_hooks,
    initial_adapter,
    loading,
    masks,
    per_run_modules,
    recomputation,
)
from gapbench.bench.models.backbone import Backbone, sharing_copy
from gapbench.bench.models.bf16 import round_frozen, roundable
from gapbench.bench.models.deberta import stack_positions
from gapbench.bench.models.run_axis import RunAxis
from gapbench.bench.models.trained_head import keep_head


def load_backbone(cell: Cell, sources: Sources) -> Backbone:
    """Load the backbone of a cell and its initial adapter from their local folders.

    Raises:
        BackboneError: if they cannot be read, or do not belong together.
    """
    location = sources.locate(cell.backbone)
    task = cell.task
    loaded = loading.load(
        location, cell.backbone, task.head, task.n_outputs, cell.precision, cell.quantization
    )
    if cell.head == "keep":
        loaded = keep_head(loaded, task)
    if cell.start is None:
        return loaded
    return loaded.starting_from(initial_adapter.read(sources.locate_start(cell.start)))


def unsupported_reason(cell: Cell, backbone: Backbone) -> str | None:
    """Return why the method of a cell cannot train it on its backbone, None if it can."""
    method, config = registry.of_cell(cell)
    reason = method.unsupported_reason(cell.task, backbone, config)
    if reason is None and not (method.drops(config) or masks.drops(cell.backbone_dropout)):
        reason = method.undropped_reason(config)
    if reason is None and cell.gradient_checkpointing:
        reason = recomputation.unsupported_reason(backbone.model())
    if reason is None and cell.accumulation > 1:
        why = method.accumulation_unsupported_reason(config)
        reason = why and f"accumulation is {cell.accumulation}, but {why}; or set it to 1"
    return reason


def set_up(
    runs: Sequence[Run],
    backbone: Backbone,
    task_data: TaskData,
    device: torch.device,
    *,
    check: bool = False,
) -> tuple[AnyMethod, TrainState]:
    """Adapt a copy of the backbone for a stack of runs, ready for its first step.

    Args:
        runs: runs that share a stack.
        backbone: backbone that they adapt.
        task_data: data that they train on.
        device: device that they train on.
        check: whether to compare the adapted model with the plain one.

    Raises:
        StartError: if the two models differ.
    """
    cell = runs[0].cell
    method_class, _ = registry.of_cell(cell)
    configs = [registry.of_cell(run.cell)[1] for run in runs]
    axis = RunAxis([run.seed for run in runs], device, loading.DTYPES[cell.precision])
    method = method_class(cell.method, configs, axis)
    model = backbone.model().to(device)
    per_run_modules.stack_head(model, backbone, axis, method.members)
    plain = sharing_copy(model) if check else None
    attention.take_over(model)
    if cell.gradient_checkpointing:
        recomputation.attach(model, axis)
    per_run_modules.stack_dropout(model, axis, cell.backbone_dropout)
    frozen = roundable(model, backbone.head)
    model = method.adapt(model, backbone)
    stack_positions(model)
    head_hooks.attach(model, cell.task.head)
    if cell.precision == "bf16":
        round_frozen(model, frozen)
    state = TrainState(
        task=cell.task,
        model=model,
        axis=axis,
        bank=ParameterBank(model, axis),
        train_targets=torch.from_numpy(
            np.empty(0) if task_data.tests_only else task_data.train.learned
        ),
        accumulation=cell.accumulation,
        packs=backbone.packs,
    )
    if plain is not None:
        if backbone.start is not None:
            initial_adapter.fold(plain, backbone.start)
        head_hooks.attach(plain, cell.task.head)
        start_check.check(method, state, plain, task_data.train)
    return method, state
