"""The head that a checkpoint was trained with, kept instead of a new one (``head: keep``)."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models.backbone import Backbone


def keep_head(backbone: Backbone, task: Task) -> Backbone:
    """Return the same backbone with its trained head as the first values of every run's head.

    The labels of its configuration must be those of the task, upper or lower case. If their
    order differs, the outputs are reordered.

    Raises:
        BackboneError: if it has no whole head for the task, or one for other labels.
    """
    place = f"backbone {backbone.fingerprint.name!r}: 'head: keep'"
    if not backbone.head:
        raise BackboneError(f"{place}: a {task.kind} task has no head of its own; leave it out")
    if backbone.absent:
        raise BackboneError(
            f"{place}: the checkpoint has no {backbone.absent[0]} of the size that the task needs; "
            "give one that was trained on the task's labels, or leave it out"
        )
    kept = {n: p.detach() for n, p in backbone.model().named_parameters() if backbone.in_head(n)}
    if task.labels:
        last = _last_layer(backbone, task.n_outputs)
        for name in (f"{last}.weight", f"{last}.bias"):
            if name in kept:
                kept[name] = kept[name][_order(place, backbone.config.id2label, task)]
    keeping = copy.copy(backbone)
    keeping.kept = kept
    return keeping


def _last_layer(backbone: Backbone, outputs: int) -> str:
    """Return the name of the head's layer with one output per label."""
    model: Any = backbone.model()
    linear = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    last, _ = [(n, m) for n, m in linear if backbone.in_head(n) and m.out_features == outputs][-1]
    return str(last)


def _order(place: str, names: Mapping[int, str], task: Task) -> list[int]:
    """Return which output of the checkpoint belongs to each label of a task."""
    given = [str(names[number]).strip().casefold() for number in sorted(names)]
    wanted = [str(label).strip().casefold() for label in task.labels]
    if sorted(given) != sorted(wanted) or len(set(given)) < len(given):
        raise BackboneError(
            f"{place}: its labels are {_shown(names)}, but task {task.name!r} has "
            f"{', '.join(map(repr, task.labels))}; if they mean the same, use the same names in "
            "'id2label' of its config.json; otherwise leave it out"
        )
    return [given.index(label) for label in wanted]


def _shown(names: Mapping[int, str]) -> str:
    return ", ".join(repr(names[number]) for number in sorted(names))
