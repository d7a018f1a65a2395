"""Those samplers of Optuna that need a seed and nothing else, by short names such as `tpe`.

A sampler is made anew for every trial, so that a trial depends on its study alone.
"""

import inspect
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.extras import needs_extra
from gapbench.bench.core.schema import suggest

DEFAULT = "tpe"

# The first trials of every study are given, so that none is left to chance before a sampler learns.
# A wave is drawn before its results are known; with a constant liar its trials differ.
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "tpe": {"multivariate": True, "constant_liar": True, "n_startup_trials": 1},
    "gp": {"n_startup_trials": 1},
}
_NOT_FOR_RANGES = {"bruteforce"}  # it needs a step in every range
_CMAES = "cmaes"  # also the package that it needs, and the extra that brings it


@cache
def classes() -> Mapping[str, type[BaseSampler]]:
    """Return the samplers that need a seed and nothing else, by name."""
    found: dict[str, type[BaseSampler]] = {}
    for name in optuna.samplers.__all__:
        short = name.removesuffix("Sampler").lower()
        made = getattr(optuna.samplers, name)
        if not (inspect.isclass(made) and issubclass(made, BaseSampler)):
            continue
        if short in _NOT_FOR_RANGES:
            continue
        taken = inspect.signature(made).parameters
        needed = [each for each in taken.values() if each.default is each.empty]
        if "seed" in taken and not needed:
            found[short] = made
    return found


def short_name(name: str) -> str:
    """Return the short name of a sampler that is named by its class; other names as they are."""
    by_class = {made.__name__: short for short, made in classes().items()}
    return by_class.get(name, name)


def check(name: str, objectives: int) -> None:
    """Check that there is a sampler, that it is installed, and serves so many objectives.

    Raises:
        ConfigError: if not.
    """
    if name not in classes():
        raise ConfigError(f"--sampler {name!r} is unknown; {suggest(name, list(classes()))}")
    if objectives > 1 and name == _CMAES:
        raise ConfigError(
            f"--sampler {name} needs a single objective; give --objective score or --sampler tpe"
        )
    if name == _CMAES:
        with needs_extra(f"--sampler {name}", _CMAES):
            import cmaes  # noqa: F401 - Optuna imports it only when it draws


def sampler(name: str, seed: int) -> BaseSampler:
    """Return the sampler of one trial."""
    with experiments_allowed():
        return classes()[name](**{"seed": seed, **_SETTINGS.get(name, {})})


def given(point: Mapping[str, Any]) -> BaseSampler:
    """Return the sampler of a trial whose settings are known."""
    with experiments_allowed():
        return PartialFixedSampler(dict(point), RandomSampler())


def experiments_allowed() -> AbstractContextManager[object]:
    """Silence Optuna's warnings of what it calls experimental; our tests cover the parts in use."""
    return warnings.catch_warnings(action="ignore", category=ExperimentalWarning)
