"""Values of method settings that the conformance suite tries, worked out from the settings' types.

A setting that matters only beside another one has that other one in `CONTEXT`.
"""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from gapbench.bench.adaptation import registry

DROPPING = ["unified_dropout", "dropkey", "dropattention", "hiddencut", "r_drop"]
DROPPING += ["hiddenkey_minus", "hiddenkey"]

# (method, field) or field -> settings under which the field has an effect.
CONTEXT: dict[str, dict[str, Any]] = {
    # Smoothing matters where the ranking of triplets does: between two far ranks.
    "beta1": {"rank": 2, "init_rank": 12},
    "beta2": {"rank": 2, "init_rank": 12},
    "ivon.beta2": {},
    # The divergence has almost no weight until a period ends.
    "prior_deviation": {"divergence_period": 2},
    "divergence_rate": {"divergence_period": 2},
    # AdamW sees no size of a gradient that has one source.
    "divergence_weight": {"noise_scale": 1.0},
    "concentration": {"noise_scale": 1.0, "divergence_weight": 0.1},
    # What is dropped, and how, matters at a rate above zero.
    "logit_pattern": {"logit_rate": 0.3},
    "weight_pattern": {"weight_rate": 0.3},
    "normaliser": {"weight_rate": 0.3},
    "ffn_pattern": {"ffn_rate": 0.3},
    **{f"{name}.rescale": {"ffn_rate": 0.3} for name in DROPPING},
    "embedding_pattern": {"embedding_rate": 0.3},
    "layers": {"logit_rate": 0.3},
    "consistency": {"logit_rate": 0.3},
    "consistency_weight": {"logit_rate": 0.3, "consistency": "kl"},
    "reduction": {"logit_rate": 0.3, "consistency": "kl"},
    "regression_consistency": {"logit_rate": 0.3, "consistency": "kl"},
    "unroll_steps": {"estimator": "unrolled"},
    "retrain_share": {"retrain": True},
    "binary_penalty": {"values": "binary"},
    # A search of a quarter of twelve steps is too short to show anything.
    "flexora.unroll_steps": {"estimator": "unrolled", "search_share": 0.75},
    "flexora.lower_share": {"search_share": 0.75},
    "flexora.estimator": {"search_share": 0.75},
    "flexora.upper_every": {"search_share": 0.75},
    "flexora.outer_learning_rate": {"search_share": 0.75},
    "flexora.power": {"search_share": 0.75},
    "flexora.granularity": {"search_share": 0.75},
    "flexora.selection": {"blocks": 2},
    "flexora.blocks": {"selection": "top_k"},
}

# Methods with settings that show only after a dozen steps, or in between.
SLOW_TO_SHOW = {"adalora", "adalora_dropout", "bilora", "flexora"}

# Outputs of the task on which a field has an effect, where it is not classification.
OUTPUTS = {"regression_consistency": 1}

# Values of fields whose type does not tell a legal one, and of those where most would do nothing.
VALUES: dict[str, list[Any]] = {
    "targets": ["all-linear", ["output.dense"]],
    "init_rank": [16, 20],
    "tinit": [0.3, 0.35, 2],
    "tfinal": [0.1, 0.6, 3],
    "beta1": [0.425, 0.3],
    "beta2": [0.425, 0.3],
    "ivon.beta2": [0.9, 0.999],
    "divergence_period": [2, 3],
    "divergence_weight": [0.1, 1.0],
    "ffn_rate": [0.25],
    **{f"{name}.rescale": ["never"] for name in DROPPING},  # of elements, "auto" is "always"
    "layers": ["latter_half", [0, 1]],
    "blocks": [2],
    "tfb.tolerance": [1e-7, 1e-6],  # a few steps leave a model that noise hardly moves
    "iterates": [2],  # more than the few steps that count is all of them
}


def fields(name: str) -> dict[str, FieldInfo]:
    """Return the settings of a method."""
    return dict(registry.get(name).Config.model_fields)


def context(name: str, field: str) -> dict[str, Any]:
    """Return the settings under which a field of a method has an effect."""
    return CONTEXT.get(f"{name}.{field}", CONTEXT.get(field, {}))


def others(name: str, field: str) -> list[Any]:
    """Return legal values of a field that differ from its default."""
    info = fields(name)[field]
    if f"{name}.{field}" in VALUES:
        return VALUES[f"{name}.{field}"]
    if field in VALUES:
        return VALUES[field]
    return list(dict.fromkeys(v for v in _candidates(info) if v != info.default))


def illegal(name: str, field: str) -> list[Any]:
    """Return values that a field must refuse."""
    info = fields(name)[field]
    bad: list[Any] = [["no", {"such": "value"}]]
    for rule in info.metadata:
        match rule:
            case Ge(ge=bound):
                bad.append(bound - 1)
            case Gt(gt=bound) | Lt(lt=bound):
                bad.append(bound)
            case Le(le=bound):
                bad.append(bound + 1)
    if any(get_origin(kind) is Literal for kind in _kinds(info.annotation)):
        bad.append("nonsense")
    return bad


def _candidates(info: FieldInfo) -> Iterator[Any]:
    for kind in _kinds(info.annotation):
        if kind is bool:
            yield from (True, False)
        elif get_origin(kind) is Literal:
            yield from get_args(kind)
        elif kind in {int, float}:
            yield from _numbers(info, kind)


def _numbers(info: FieldInfo, kind: type) -> Iterator[Any]:
    """Yield two numbers inside the legal range, some way off the default."""
    start = info.default if isinstance(info.default, int | float) else 0
    tried = (start * 2, start / 2, start + 1, start + 0.25, start + 0.1, 0.3, 3)
    fit = [v for v in tried if (kind is float or v == int(v)) and _legal(info, v) and v != start]
    yield from map(kind, fit[:2])


def _legal(info: FieldInfo, value: float) -> bool:
    for rule in info.metadata:
        match rule:
            case Ge(ge=bound) if not value >= bound:
                return False
            case Gt(gt=bound) if not value > bound:
                return False
            case Le(le=bound) if not value <= bound:
                return False
            case Lt(lt=bound) if not value < bound:
                return False
    return True


def _kinds(annotation: Any) -> list[Any]:
    """Return the members of a union, or the type itself."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return list(get_args(annotation))
    return [annotation]
