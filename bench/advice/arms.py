"""The arms of a race: methods, each at several settings.

Learning rates come first, since no other setting matters as much: every method at its own default,
then at a third and at three times that. Then follow ranks and the settings that each method would
tune, at a quarter and three quarters of their range. Methods take turns, so that a short design has
all of them.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from gapbench.bench.adaptation import registry
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.experiment.schema import MethodEntry
from gapbench.bench.tuning.space import spread

METHODS = ("lora", "lora_dropout", "hiddenkey", "bilora")
"""Methods of a race whose user names none: plain LoRA and the controls of the four papers."""
REFERENCE = "lora"
ARMS = 12
FACTORS = (1 / 3, 3.0)
_SHARES = (0.25, 0.75)


def design(entries: Sequence[MethodEntry], rate: float, count: int) -> list[MethodEntry]:
    """Return the arms: the reference's default, then methods in turn.

    Args:
        entries: methods with the settings around which arms are made.
        rate: learning rate of the suite, for methods without their own.
        count: number of arms wanted; fewer if the methods have no more settings.

    Raises:
        ConfigError: if there are fewer than two arms, or one of a method without training.
    """
    for entry in entries:
        if not registry.get(entry.method).trains:
            raise ConfigError(
                f"--methods {entry.method}: it trains nothing, so it cannot be advised; name "
                "methods that train"
            )
    first = sorted(entries, key=lambda entry: entry.method != REFERENCE)
    turns = zip_longest(*(_settings(entry, rate) for entry in first))
    arms = list(islice(filter(None, chain.from_iterable(turns)), count))
    if len(arms) < 2:
        raise ConfigError(f"--arms {count}: a race needs at least 2 arms; give a larger number")
    return arms


def _settings(entry: MethodEntry, rate: float) -> Iterator[MethodEntry]:
    """Yield the arms of a method, its own settings first."""
    yield entry
    method = registry.get(entry.method)
    middle = float((method.training | entry.training).get("learning_rate", rate))
    low, high = method.learning_rates
    for factor in FACTORS:
        value = float(f"{min(max(middle * factor, low), high):.1g}")
        if (value < middle) == (factor < 1) and value != middle:
            training = {**entry.training, "learning_rate": value}
            yield entry.model_copy(update={"variant": f"rate {value:g}", "training": training})
    space = dict(method.search_space())
    ranks = [("rank", space.pop("rank"))] if "rank" in space else []
    for name, drawn in (*ranks, *space.items()):
        for value in _levels(drawn):
            if value != entry.config.get(name, method.Config.model_fields[name].default):
                shown = f"{value:.2g}" if isinstance(value, float) else str(value)
                config = {**entry.config, name: value}
                yield entry.model_copy(update={"variant": f"{name} {shown}", "config": config})


def _levels(drawn: BaseDistribution) -> tuple[Any, ...]:
    if isinstance(drawn, CategoricalDistribution):
        return tuple(drawn.choices)
    values = [spread(drawn, share) for share in _SHARES]
    rounded = [float(f"{value:.2g}") if isinstance(value, float) else value for value in values]
    return tuple(dict.fromkeys(rounded))
