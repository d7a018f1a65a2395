"""Samplers that need a seed and nothing else: Optuna's by short names such as `tpe`, or one's own.

A sampler is made anew for every trial, so that a trial depends on its study alone.
"""

import inspect
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
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
_OWN = ":"  # between the module and the class of another sampler
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
        if _seeded(made):
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
    if _OWN in name:
        _own(name)
        return
    if name not in classes():
        allowed = suggest(name, list(classes()))
        raise ConfigError(f"--sampler {name!r} is unknown; {allowed}; or give MODULE:CLASS")
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
        made = _own(name) if _OWN in name else classes()[name]
        return made(**{"seed": seed, **_SETTINGS.get(name, {})})


def _own(name: str) -> type[BaseSampler]:
    """Return a sampler that anybody may have written, named by its module and class.

    Raises:
        ConfigError: if it cannot be imported, or is no sampler that a seed is enough for.
    """
    module, _, attribute = name.partition(_OWN)
    place = f"--sampler {name!r}"
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # its module may raise anything
        raise ConfigError(
            f"{place}: cannot be imported: {type(error).__name__}: {error}; give the module and "
            "the class, with the module's folder in PYTHONPATH"
        ) from None
    if not (inspect.isclass(found) and issubclass(found, BaseSampler) and _seeded(found)):
        raise ConfigError(
            f"{place}: must be a subclass of optuna.samplers.BaseSampler that takes 'seed' and "
            "needs no other argument; wrap it in one"
        )
    return found


def _seeded(made: type[BaseSampler]) -> bool:
    """Return whether a sampler takes a seed and needs nothing else."""
    taken = inspect.signature(made).parameters
    needed = [each for each in taken.values() if each.default is each.empty]
    return "seed" in taken and {each.name for each in needed} <= {"seed"}


def given(point: Mapping[str, Any]) -> BaseSampler:
    """Return the sampler of a trial whose settings are known."""
    with experiments_allowed():
        return PartialFixedSampler(dict(point), RandomSampler())


def experiments_allowed() -> AbstractContextManager[object]:
    """Silence Optuna's warnings of what it calls experimental; our tests cover the parts in use."""
    return warnings.catch_warnings(action="ignore", category=ExperimentalWarning)
