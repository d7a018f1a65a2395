"""Search space: a method's dimensions, their initial points, and a trial's settings.

Every method has the same number of dimensions by default: the learning rate, the rank and the first
of its own settings. Optimiser settings replace missing ones, and all others stay at the paper's
values.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError
from scipy.stats import qmc

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import changed
from gapbench.bench.core.seeding import seed_of
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.tuning.schema import Dimension, Value

Level = Literal["default", "full"]
Space = Mapping[str, Dimension]
Params = Mapping[str, Value | None]

DIMENSIONS = 3
"""Number of dimensions of every method's default space."""
START = 8
"""Trials before the sampler learns: the method's own settings, then spread points."""

_TRAINING: Mapping[str, BaseDistribution] = {
    "weight_decay": FloatDistribution(0.0, 0.3),
    "warmup_fraction": FloatDistribution(0.0, 0.3),
    "patience": IntDistribution(1, 8),
}
_SPARE = ("weight_decay", "warmup_fraction")  # for methods with too few settings of their own


def space_of(cell: Cell, level: Level, backbone: Backbone) -> dict[str, Dimension]:
    """Return the dimensions of a cell's method, learning rate first and rank, if any, second.

    Ranges are widened if the cell's own value, the first trial, lies outside; ranks end at the
    largest that fits the backbone. If runs start from an adapter, its rank is kept.

    Raises:
        ConfigError: if a range is empty.
    """
    method = registry.get(cell.method)
    own = dict(method.search_space())
    rank = {"rank": own.pop("rank")} if "rank" in own else {}
    if backbone.start is not None:
        rank = {}
    preset = {name: _TRAINING[name] for name in method.training if name in _TRAINING}
    spare = {name: _TRAINING[name] for name in _SPARE if name not in preset}
    low, high = method.learning_rates
    if not low <= high:
        raise ConfigError(
            f"method {cell.method!r}: its range of 'learning_rate' has {low} above {high}"
        )
    rate = FloatDistribution(low, high, log=True)
    wanted = {"learning_rate": rate, **rank, **preset, **own, **spare}
    count = DIMENSIONS if level == "default" else len(wanted)
    space = {name: _dimension(cell, name, wanted[name]) for name in list(wanted)[:count]}
    return space | {name: _fitting(cell, space[name], backbone) for name in rank}


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return the sampler's distribution for a dimension."""
    if dimension.kind == "choice":
        return CategoricalDistribution(dimension.choices)
    low, high = dimension.low or 0.0, dimension.high or 0.0
    if dimension.kind == "int":
        return IntDistribution(int(low), int(high), log=dimension.log)
    return FloatDistribution(low, high, log=dimension.log)


def spread(drawn: BaseDistribution, share: float) -> Value | None:
    """Return the value at a share, in [0, 1), of a range."""
    if isinstance(drawn, CategoricalDistribution):
        chosen: Value | None = drawn.choices[int(share * len(drawn.choices))]
        return chosen
    assert isinstance(drawn, FloatDistribution | IntDistribution)  # noqa: S101 - there is no other
    low, high = drawn.low, drawn.high
    whole = isinstance(drawn, IntDistribution)
    first, last = (low - 0.5, high + 0.5) if whole else (low, high)
    if drawn.log:
        value = math.exp(math.log(first) + share * (math.log(last) - math.log(first)))
    else:
        value = first + share * (last - first)
    value = min(max(value, low), high)
    return min(max(round(value), int(low)), int(high)) if whole else value


def start_points(space: Space, seed: int) -> list[dict[str, Value | None]]:
    """Return the first trials: the cell's own settings, then points spread evenly.

    The points are a Sobol net; each dimension is shifted by an amount set by its name and the seed.
    All methods thus try the same learning rates with the same ranks.
    """
    net = qmc.Sobol(len(space), scramble=False).random_base2(int(math.log2(START)))
    points: list[dict[str, Value | None]] = [{n: d.default for n, d in space.items()}]
    for row in net[: START - 1]:
        shifted = {
            name: (float(value) + seed_of("shift", name, seed) / 2**63) % 1.0
            for name, value in zip(space, row, strict=True)
        }
        points.append(
            {name: spread(distribution(space[name]), share) for name, share in shifted.items()}
        )
    return points


def apply(cell: Cell, space: Space, params: Params) -> Cell:
    """Return a cell with other values for some of its settings.

    Raises:
        ConfigError: if a value is illegal.
    """
    place = f"trial of {cell.method!r}"
    parts: dict[str, dict[str, Any]] = {"config": {}, "training": {}}
    for name, value in params.items():
        parts[space[name].where][name] = value
    config = registry.resolve_config(cell.method, cell.config | parts["config"], place)
    training = changed(cell.training, parts["training"], place)
    return cell.changed({"config": config, "training": training})


def _dimension(cell: Cell, name: str, drawn: BaseDistribution) -> Dimension:
    where: Literal["config", "training"] = "config" if name in cell.config else "training"
    default = cell.config[name] if where == "config" else getattr(cell.training, name)
    if isinstance(drawn, CategoricalDistribution):
        choices = tuple(dict.fromkeys((*drawn.choices, default)))
        return Dimension(where=where, kind="choice", choices=choices, default=default)
    assert isinstance(drawn, FloatDistribution | IntDistribution)  # noqa: S101 - there is no other
    if default is None:
        raise ConfigError(
            f"method {cell.method!r}: {name!r} is to be tuned, but is None; give it a number"
        )
    low, high = min(drawn.low, default), max(drawn.high, default)
    return Dimension(
        where=where,
        kind="int" if isinstance(drawn, IntDistribution) else "float",
        low=low,
        high=high,
        log=drawn.log and low > 0,
        default=default,
    )


def _fitting(cell: Cell, rank: Dimension, backbone: Backbone) -> Dimension:
    """Return the range of ranks that the method supports on a backbone."""
    method = registry.get(cell.method)

    def fits(value: int) -> bool:
        try:
            config = method.Config.model_validate(cell.config | {"rank": value})
        except ValidationError:  # for example, another setting must not be smaller
            return False
        return method.supports(cell.task, backbone, config) is None

    low, high = int(rank.low or 1), int(rank.high or 1)
    while low < high and not fits(high):
        high -= 1
    while low < high and not fits(low):
        low += 1
    return rank.model_copy(update={"low": float(low), "high": float(high)})
