"""From runs to a model that can step: load a backbone, adapt a copy, lay out its numbers."""

from collections.abc import Sequence

import torch

from bench import attention, backbone_files, heads, own_parts, registry, start
from bench.backbone import Backbone
from bench.config import Cell, Run
from bench.disentangled import stack_positions
from bench.half import multiply_in_half
from bench.method import AnyMethod, TrainState
from bench.optim import ParameterBank
from bench.sources import Sources
from bench.splits import TaskData
from bench.stack import RunAxis


def load_backbone(cell: Cell, sources: Sources) -> Backbone:
    """Return the backbone of a cell, and the adapter to start from, from where they are at hand."""
    location = sources.locate(cell.backbone)
    task = cell.task
    loaded = backbone_files.load(location, cell.backbone, task.kind, task.n_outputs, cell.precision)
    if cell.start is None:
        return loaded
    return loaded.starting_from(start.read(sources.locate_start(cell.start)))


def set_up(
    runs: Sequence[Run], backbone: Backbone, task_data: TaskData, device: torch.device
) -> tuple[AnyMethod, TrainState]:
    """Adapt a copy of the backbone for a stack of runs, ready for its first step."""
    cell = runs[0].cell
    method_class = registry.get(cell.method)
    axis = RunAxis([run.seed for run in runs], device, backbone_files.DTYPES[cell.precision])
    configs = [method_class.Config.model_validate(run.cell.config) for run in runs]
    method = method_class(cell.method, configs, axis)
    model = backbone.model().to(device)
    attention.take_over(model)
    own_parts.stack_head(model, backbone, axis, method.members)
    own_parts.stack_dropout(model, axis, cell.backbone_dropout)
    model = method.adapt(model, backbone)
    if cell.precision == "bf16":
        multiply_in_half(model)
    stack_positions(model)
    heads.attach(model, cell.task.kind)
    state = TrainState(
        task=cell.task,
        model=model,
        axis=axis,
        bank=ParameterBank(model, axis),
        train_targets=torch.from_numpy(task_data.train.targets),
    )
    return method, state
