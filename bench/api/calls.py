"""The functions of the Python API: what they take and return; the work is done in other files.

Nothing here takes time to import: the training libraries are loaded when a function is called.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from gapbench.bench.api.choices import CHECKPOINT_MINUTES, IDLE_THREADS

if TYPE_CHECKING:
    import pandas as pd

    from gapbench.bench.api.results import Results
    from gapbench.bench.experiment.schema import SuiteLike

Names = str | Sequence[str] | None
"""Names as a list, or as text with commas between them; None for all."""
Seeds = int | Sequence[int] | None
Place = str | PathLike[str] | None


def run(
    suite: SuiteLike,
    *,
    methods: Names = None,
    tasks: Names = None,
    seeds: Seeds = None,
    backbone: Place = None,
    data: Place = None,
    results: str | PathLike[str] = "results",
    device: str = "auto",
    precision: str | None = None,
    stack: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    time_budget: float | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    retry: Names = None,
    offline: bool = False,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Results:
    """Run all runs of a suite that are not in the results folder yet.

    Calling it again resumes: finished runs are kept, however the last call ended.

    Args:
        suite: name of a built-in suite, path of a YAML file, a `Suite`, or its fields. Tasks in it
            are names, or `Task` objects or their fields.
        methods: methods of the suite to take; None takes all.
        tasks: tasks of the suite to take; None takes all.
        seeds: seeds instead of the suite's: a list, or the number of seeds counted from 0.
        backbone: backbone instead of the suite's: name, folder, or ``owner/name@revision``.
        data: folder to read ``<data>/<task>/<split>.parquet`` from, instead of the hub.
        results: the results folder, created if needed.
        device: device to compute on: "auto", "cpu" or "cuda".
        precision: "fp32", "bf16", "fp64" or "auto"; None takes the suite's.
        stack: most runs that share one copy of the backbone; None measures the best number.
        workers: number of processes, Ray tasks or Slurm jobs; None lets the engine choose.
        engine: "local", "ray" or "slurm".
        time_budget: seconds after which all work ends; what is in training is saved then. Every
            method gets its first seed before any gets a second.
        checkpoint_minutes: minutes between two checkpoints of the runs in training.
        retry: statuses of runs to try again although they failed twice in the same way.
        offline: refuse what only the hub has, before any connection is tried.
        progress: whether to show progress on stderr.
        command: the command line to name in plans and logs; None names this call.

    Returns:
        The whole results folder; its `outcome` says what this call did.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
        StoreError: if the results folder cannot be written.
        KeyboardInterrupt: if the work was interrupted; finished runs are stored.
    """
    given = locals()
    os.environ.setdefault(*IDLE_THREADS)
    from gapbench.bench.api.training import Work, train

    return Work.of(run, given).recorded(train)


def tune(
    suite: SuiteLike,
    *,
    methods: Names = None,
    tasks: Names = None,
    seeds: Seeds = None,
    backbone: Place = None,
    data: Place = None,
    results: str | PathLike[str] = "results",
    device: str = "auto",
    precision: str | None = None,
    compute: float | None = None,
    trials: int | None = None,
    steps: int | None = None,
    examples: int | None = None,
    seconds: float | None = None,
    space: str = "default",
    objective: str = "score",
    trial_seeds: int = 1,
    pruner: str = "none",
    storage: str | None = None,
    seed: int = 0,
    stack: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    retry: Names = None,
    offline: bool = False,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Results:
    """Search every method's settings on validation, then score winners and defaults on fresh seeds.

    Calling it again resumes, as with `run`.

    Args:
        suite: the suite whose methods are tuned, each on each task. Arguments that are not
            explained here are explained by `run`.
        methods: see `run`.
        tasks: see `run`.
        seeds: seeds of the final runs; trials have others.
        backbone: see `run`.
        data: see `run`.
        results: see `run`.
        device: see `run`.
        precision: see `run`.
        compute: budget of a study: the examples of so many trials of plain LoRA; a method that
            passes over each example twice has half as many trials. Give at most one of this and
            the next four; without any, a study has the compute of 32 trials.
        trials: or number of trials, 8 or more.
        steps: or number of updates of all its trials.
        examples: or number of training examples of all its trials, each pass counted.
        seconds: or seconds of training and scoring of all its trials.
        space: "default" tunes equally many dimensions of every method, "full" tunes all.
        objective: on validation: "score"; "score+ece" and "score+gap" give a Pareto front.
        trial_seeds: number of runs of a trial; its score is their mean.
        pruner: "asha" or "wilcoxon" end poor trials early; or "none".
        storage: URL of the studies, as Optuna takes it, or ``journal:FILE``; None keeps them in
            the results folder.
        seed: seed of the search.
        stack: most runs that share one copy of the backbone; None lets a wave of trials share it.
        workers: see `run`.
        engine: "local"; more computers take part by the same call with the same storage.
        retry: see `run`.
        offline: see `run`.
        progress: see `run`.
        command: see `run`.

    Returns:
        The whole results folder; its `studies` are the searches.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
        StoreError: if the results folder or the storage cannot be written.
        KeyboardInterrupt: if the work was interrupted; finished trials and runs are stored.
    """
    given = locals()
    os.environ.setdefault(*IDLE_THREADS)
    from gapbench.bench.api.tuning import tuned

    return tuned(**given)


def check(
    suite: SuiteLike,
    *,
    methods: Names = None,
    tasks: Names = None,
    seeds: Seeds = None,
    backbone: Place = None,
    data: Place = None,
    precision: str | None = None,
    offline: bool = False,
) -> pd.DataFrame:
    """Verify everything that can be wrong with a suite before an hour is spent on it.

    Args:
        suite: name of a built-in suite, path of a YAML file, a `Suite`, or its fields.
        methods: methods of the suite to take; None takes all.
        tasks: tasks of the suite to take; None takes all.
        seeds: seeds instead of the suite's: a list, or the number of seeds counted from 0.
        backbone: backbone instead of the suite's: name, folder, or ``owner/name@revision``.
        data: folder to read ``<data>/<task>/<split>.parquet`` from, instead of the hub.
        precision: "fp32", "bf16", "fp64" or "auto"; None takes the suite's.
        offline: refuse what only the hub has, before any connection is tried.

    Returns:
        A row for each cell with the sizes of its splits, and "ok", why it will be skipped, or why
        it would fail: its longest inputs are tried on the real model, forward and backward.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
    """
    given = locals()
    from gapbench.bench.api.checking import checked

    return checked(**given).frame()


def plan(
    suite: SuiteLike,
    *,
    methods: Names = None,
    tasks: Names = None,
    seeds: Seeds = None,
    backbone: Place = None,
    data: Place = None,
    precision: str | None = None,
    offline: bool = False,
    results: str | PathLike[str] = "results",
    engine: str = "local",
    workers: int | None = None,
) -> pd.DataFrame:
    """Show what `run` would do with the same arguments, and what is done already.

    Args:
        suite: see `check`, which explains all arguments but the last three.
        methods: methods of the suite to take; None takes all.
        tasks: tasks of the suite to take; None takes all.
        seeds: seeds instead of the suite's: a list, or the number of seeds counted from 0.
        backbone: backbone instead of the suite's.
        data: see `check`.
        precision: precision instead of the suite's.
        offline: refuse what only the hub has.
        results: the results folder.
        engine: the engine for which the time is estimated; see `run`.
        workers: number of workers for the estimate; None takes as many as `run` would.

    Returns:
        A row for each cell: its runs, how many are done, and the seconds left on one worker, NaN
        if no stored run allows an estimate.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
    """
    given = locals()
    from gapbench.bench.api.planning import planned

    return planned(**given).frame()
