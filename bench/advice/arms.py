"""The arms of a race: methods, each at several settings.

Learning rates come first, since no other setting matters as much: every method at its own default,
then at a third and at three times that. Then follow ranks and the settings that each method would
tune, at a quarter and three quarters of their range. Methods take turns, so that a short design has
all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Cell, NestedFolds, Resample
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import changed
from gapbench.bench.tuning.space import spread

REFERENCE = "lora"
FACTORS = (1 / 3, 3.0)
_SHARES = (0.25, 0.75)
_FEWEST = 4  # evaluations of a run whose epochs are cut


@dataclass(frozen=True)
class Arm:
    """A method at some settings.

    Attributes:
        cell: trained on one cut of the rows.
        variant: its label among the arms of its method.
    """

    cell: Cell
    variant: str = "default"

    @property
    def name(self) -> str:
        """The name in tables."""
        method = self.cell.method
        return method if self.variant == "default" else f"{method} / {self.variant}"

    def on(self, resample: Resample) -> Cell:
        """Return the cell on other cuts of the rows."""
        change: dict[str, Any] = {"resample": resample}
        if isinstance(resample, NestedFolds):  # a race is scored on its folds alone
            change["also_test"] = ()
        return self.cell.changed(change)

    def of_epochs(self, epochs: float) -> "Arm":
        """Return the arm with shorter runs, which are scored as often in an epoch."""
        own = self.cell.budget
        assert own.epochs is not None  # noqa: S101 - the caller has looked
        often = round(own.evaluations * epochs / own.epochs)
        change = {"epochs": epochs, "evaluations": max(often, min(_FEWEST, own.evaluations))}
        budget = changed(own, change, f"arm {self.name!r}")
        return Arm(self.cell.changed({"budget": budget}), self.variant)

    def but(self, label: str, config: Mapping[str, Any] | None = None, **training: Any) -> "Arm":
        """Return the arm with other settings."""
        place = f"arm {self.name!r}"
        own = self.cell.config | dict(config or {})
        change = {
            "config": registry.resolve_config(self.cell.method, own, place),
            "training": changed(self.cell.training, training, place),
        }
        return Arm(
            self.cell.changed(change),
            label if self.variant == "default" else f"{self.variant}, {label}",
        )


def design(methods: Sequence[Arm], count: int) -> list[Arm]:
    """Return the arms of a race: the given ones first, LoRA leading, then others in turn.

    Args:
        methods: methods at the settings around which arms are made.
        count: number of arms wanted; fewer if the methods have no more settings.

    Raises:
        ConfigError: without LoRA, with fewer than two arms, or one of a method without training.
    """
    for arm in methods:
        if not registry.get(arm.cell.method).trains:
            raise ConfigError(
                f"--methods {arm.cell.method}: it trains nothing, so there is nothing to advise; "
                "name methods that train"
            )
    if all(arm.cell.method != REFERENCE for arm in methods):
        raise ConfigError(
            f"advise compares with plain LoRA, and has {', '.join(arm.name for arm in methods)}; "
            f"name {REFERENCE} among the methods"
        )
    first = sorted(methods, key=lambda arm: (arm.cell.method != REFERENCE, arm.name != REFERENCE))
    arms: dict[Cell, Arm] = {}
    for arm in filter(None, chain.from_iterable(zip_longest(*map(_settings, first)))):
        if len(arms) < count:  # a suite may hold a variant that is made here too
            arms.setdefault(arm.cell, arm)
    if len(arms) < 2:
        raise ConfigError(f"--arms {count}: a race needs at least 2 arms; give a larger number")
    return list(arms.values())


def _settings(arm: Arm) -> Iterator[Arm]:
    """Yield the arms of a method, its own settings first."""
    yield arm
    method, own = registry.get(arm.cell.method), arm.cell
    low, high = method.learning_rates
    middle = own.training.learning_rate
    for factor in FACTORS:
        rate = float(f"{min(max(middle * factor, low), high):.1g}")
        if rate != middle and (rate < middle) == (factor < 1):
            yield arm.but(f"rate {rate:g}", learning_rate=rate)
    space = dict(method.search_space())
    ranks = [("rank", space.pop("rank"))] if "rank" in space else []
    for name, drawn in (*ranks, *space.items()):
        for value in _levels(drawn):
            if name in own.config and value != own.config[name]:
                shown = f"{value:.2g}" if isinstance(value, float) else str(value)
                yield arm.but(f"{name} {shown}", {name: value})


def _levels(drawn: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(drawn, CategoricalDistribution):
        return tuple(drawn.choices)
    values = [spread(drawn, share) for share in _SHARES]
    rounded = [float(f"{value:.2g}") if isinstance(value, float) else value for value in values]
    return tuple(dict.fromkeys(rounded))
