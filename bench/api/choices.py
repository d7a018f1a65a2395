"""Allowed values of arguments, and exit codes of calls; quick to import."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any

from gapbench.bench.core.errors import ConfigError

CHECKPOINT_MINUTES = 10.0  # a checkpoint takes about a second; at most this much is lost
DEVICES = ("auto", "cpu", "cuda")
FORMS = ("both", "ratings", "pairs")
"""What judges are asked for."""
OBJECTIVES = ("score", "score+ece", "score+gap")
IDLE_THREADS = ("OMP_WAIT_POLICY", "PASSIVE")
"""Set in the environment before numerical libraries load: their idle threads spin by default, which
on a machine with other work was measured to make a run seven times slower."""
PRECISIONS = ("fp32", "bf16", "fp64")
QUANTIZATIONS = ("nf4", "int8", "int4")
PRUNERS = ("none", "asha", "wilcoxon")
RETRYABLE = ("failed", "out_of_memory", "interrupted")
"""Statuses of runs that can be tried again."""
SHARED_FORMATS = ("every-eval-ever", "eval-results")
SPACES = ("default", "full")

OK, MOVED, USAGE, FAILED_RUNS, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes of the command line."""


def names(field: str, given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names as a tuple; it is empty for None, which means all.

    Raises:
        ConfigError: if there is no name, or one is not text.
    """
    if given is None:
        return ()
    parts = given.split(",") if isinstance(given, str) else given
    try:
        found = tuple(name.strip() for name in parts if name.strip())
    except (TypeError, AttributeError):
        raise ConfigError(
            f"{field}: got {given!r}; give a list of names, or None for all"
        ) from None
    if not found:
        raise ConfigError(f"{field}: got {given!r}; give at least one name, or None for all")
    return found


ADVISED_METHODS = ("lora", "lora_dropout", "hiddenkey", "bilora")
"""Methods of a race whose user names none: plain LoRA and the controls of the four papers."""
ARMS = 12
"""Arms of a race whose user names no number."""
FOLDS, REPEATS = 5, 4
"""Parts into which a race cuts the rows, and how often."""


def check_above_zero(given: Any, *fields: str, whole: bool = True) -> None:
    """Check that fields of a call are numbers above 0, or None.

    Raises:
        ConfigError: naming the first that is not.
    """
    for field in fields:
        value = given.get(field)
        fits = isinstance(value, Integral if whole else Real) and 0 < float(value) < math.inf
        if value is not None and not fits:
            kind = "whole number" if whole else "number"
            raise ConfigError(f"{field} must be a {kind} above 0, got {value!r}")


def one_of(field: str, given: str, allowed: Sequence[str]) -> str:
    """Return a word if it is allowed.

    Raises:
        ConfigError: if it is not.
    """
    if given not in allowed:
        raise ConfigError(f"{field} {given!r} is unknown; give one of {', '.join(allowed)}")
    return given


def run_name(run: Any) -> str:
    """Return the hash or path of a run that a call names.

    Args:
        run: the hash, the start of one, or a path; or a row of `Results.runs`, from `iterrows`,
            `itertuples` or `iloc`.
    """
    if isinstance(run, str | PathLike):
        return str(run)
    return str(run.run_hash if hasattr(run, "run_hash") else run["run_hash"])
