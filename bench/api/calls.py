"""The functions of the Python API, with arguments and results; other files do the work.

Importing this is fast: the training libraries are loaded when a function is called.
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
    quantization: str | None = None,
    stack: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    time_budget: float | None = None,
    checkpoint_minutes: float = CHECKPOINT_MINUTES,
    retry: Names = None,
    offline: bool = False,
    track: str | None = None,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Results:
    """Run all runs of a suite that are not in the results folder yet.

    Calling it again resumes: finished runs are kept, however the last call ended.

    Args:
        suite: name of a built-in suite, path of a YAML file, a `Suite`, or its fields. Tasks in it
            are names, or `Task` objects or their fields.
        methods: methods of the suite to use; None uses all.
        tasks: tasks of the suite to use; None uses all.
        seeds: seeds instead of the suite's: a list, or the number of seeds counted from 0.
        backbone: backbone instead of the suite's: name, folder, GGUF file, or
            ``owner/name@revision``.
        data: folder to read ``<data>/<task>/<split>.parquet`` from, instead of the hub.
        results: results folder, created if needed.
        device: device to compute on: "auto", "cpu" or "cuda".
        precision: "fp32", "bf16", "fp64" or "auto"; None uses the suite's.
        quantization: format of the frozen linear layers: "nf4", "int8" or "int4"; None uses the
            suite's.
        stack: largest number of runs that share one copy of the backbone; None measures the best.
        workers: number of processes, Ray tasks or Slurm jobs; None lets the engine choose.
        engine: "local", "ray" or "slurm".
        time_budget: seconds after which all work ends; runs in training are saved then. Every
            method gets its first seed before any gets a second.
        checkpoint_minutes: minutes between two checkpoints of the runs in training.
        retry: statuses of runs to try again even if they failed twice in the same way.
        offline: refuse sources that only the hub has, without trying to connect.
        track: tracker that gets each run when it has ended: "trackio", "wandb", "mlflow" or
            "tensorboard"; None for none. If it fails, a warning says so and the work goes on.
        progress: whether to show progress on stderr.
        command: command line to show in plans and logs; None shows this call.

    Returns:
        The whole results folder; its `outcome` describes this call.

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
    quantization: str | None = None,
    compute: float | None = None,
    trials: int | None = None,
    steps: int | None = None,
    examples: int | None = None,
    seconds: float | None = None,
    space: str = "default",
    objective: str = "score",
    trial_seeds: int = 1,
    pruner: str = "none",
    sampler: str = "tpe",
    storage: str | None = None,
    seed: int = 0,
    stack: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    retry: Names = None,
    offline: bool = False,
    track: str | None = None,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Results:
    """Search every method's settings on validation, then score winners and defaults on new seeds.

    Calling it again resumes, as with `run`.

    Args:
        suite: suite to tune, every method on every task. See `run` for arguments that are not
            explained here.
        methods: see `run`.
        tasks: see `run`.
        seeds: seeds of the final runs; trials use others.
        backbone: see `run`.
        data: see `run`.
        results: see `run`.
        device: see `run`.
        precision: see `run`.
        quantization: see `run`.
        compute: budget of a study, in trials of plain LoRA; a method that passes over each example
            twice has half as many trials. Give at most one of this and the next four; without any,
            a study has the compute of 32 trials.
        trials: budget as a number of trials, 8 or more.
        steps: budget as the number of updates of all trials.
        examples: budget as the number of training examples of all trials, each pass counted.
        seconds: budget as seconds of training and scoring of all trials.
        space: "default" tunes the same number of dimensions of every method, "full" tunes all.
        objective: validation objective: "score"; "score+ece" and "score+gap" give a Pareto front.
        trial_seeds: number of runs per trial; its score is their mean.
        pruner: "asha" or "wilcoxon" end poor trials early; or "none".
        sampler: what draws trials from the ninth on: "tpe", "gp", "cmaes", "random", "qmc",
            "nsgaii" or "nsgaiii", the name of Optuna's class, such as "GPSampler", or
            "MODULE:CLASS" for any other that takes a seed.
        storage: URL of the studies in Optuna's form, or ``journal:FILE``; None keeps them in the
            results folder.
        seed: seed of the search.
        stack: largest number of runs that share a backbone; None lets a wave of trials share it.
        workers: see `run`.
        engine: see `run`. The computers of a cluster share the results folder, and studies are
            kept in a journal file there; more computers also join with the same call.
        retry: see `run`.
        offline: see `run`.
        track: see `run`; trials are sent when the search has ended.
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
    quantization: str | None = None,
    offline: bool = False,
) -> pd.DataFrame:
    """Verify a suite before an hour is spent on it.

    Args:
        suite: name of a built-in suite, path of a YAML file, a `Suite`, or its fields.
        methods: methods of the suite to take; None takes all.
        tasks: tasks of the suite to take; None takes all.
        seeds: seeds instead of the suite's: a list, or the number of seeds counted from 0.
        backbone: backbone instead of the suite's: name, folder, GGUF file, or
            ``owner/name@revision``.
        data: folder to read ``<data>/<task>/<split>.parquet`` from, instead of the hub.
        precision: "fp32", "bf16", "fp64" or "auto"; None takes the suite's.
        quantization: "nf4", "int8" or "int4"; None takes the suite's.
        offline: refuse what only the hub has, before any connection is tried.

    Returns:
        A row for each cell with the sizes of its splits, and "ok" or the reason why it will be
        skipped or would fail: its longest inputs pass forward and backward through the real model.

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
    quantization: str | None = None,
    offline: bool = False,
    results: str | PathLike[str] = "results",
    engine: str = "local",
    workers: int | None = None,
) -> pd.DataFrame:
    """Show the work of `run` with the same arguments, and the part already done.

    Args:
        suite: see `check`, which explains all arguments but the last three.
        methods: methods of the suite to take; None takes all.
        tasks: tasks of the suite to take; None takes all.
        seeds: seeds instead of the suite's: a list, or the number of seeds counted from 0.
        backbone: backbone instead of the suite's.
        data: see `check`.
        precision: precision instead of the suite's.
        quantization: quantization instead of the suite's.
        offline: refuse what only the hub has.
        results: the results folder.
        engine: engine for the time estimate; see `run`.
        workers: number of workers for the estimate; None uses the number that `run` would.

    Returns:
        A row for each cell: its runs, how many are done, the seconds left on one worker, NaN if no
        run like it is stored or could be measured, and, where they were found out, the memory of a
        stack (``memory_mib``) and the reason why its runs will be skipped (``skipped``).

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
    """
    given = locals()
    from gapbench.bench.api.planning import planned

    return planned(**given).frame()
