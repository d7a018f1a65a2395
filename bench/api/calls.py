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
    from gapbench.bench.experiment.suite import SuiteLike

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
    """Run what a suite wants and the results folder lacks.

    Calling it again resumes: finished runs are kept, however the last call ended.

    Args:
        suite: name of a built-in suite, path of a YAML file, a `Suite`, or its fields. Tasks in it
            are names, or `Task` objects or their fields.
        methods: only these methods of the suite; likewise ``tasks``.
        tasks: only these.
        seeds: instead of the suite's own: a list, or a number of seeds counted from 0.
        backbone: instead of the suite's: built-in name, folder, or ``owner/name@revision``.
        data: read ``<data>/<task>/<split>.parquet`` instead of the hub.
        results: the results folder, made where needed.
        device: where to compute: "auto", "cpu" or "cuda".
        precision: of all arithmetic: "fp32", "bf16", "fp64" or "auto"; None takes the suite's.
        stack: most runs that share one copy of the backbone; None measures what suits.
        workers: processes at once, of Ray tasks, of Slurm jobs; None lets the engine choose.
        engine: "local", "ray" or "slurm".
        time_budget: seconds after which all work ends; what is in training is saved then. Every
            method gets its first seed before any gets a second.
        checkpoint_minutes: between two checkpoints of what is in training.
        retry: statuses of runs to try again although they failed twice in the same way.
        offline: refuse what only the hub has, before any connection is tried.
        progress: whether to tell on stderr how far the work is.
        command: the command line to name in plans and logs; None names this call.

    Returns:
        All that the results folder holds now; its `outcome` says what this call did.

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
        suite: whose methods are tuned, each on each task; all arguments without an explanation here
            are explained by `run`.
        methods: see `run`.
        tasks: see `run`.
        seeds: of the runs at the end; trials have others.
        backbone: see `run`.
        data: see `run`.
        results: see `run`.
        device: see `run`.
        precision: see `run`.
        compute: budget of a study: what so many trials of plain LoRA train on; a method that passes
            over each example twice has half as many trials. Give at most one of this and the next
            four; without any, a study has the compute of 32 trials.
        trials: or number of trials, 8 or more.
        steps: or updates of all its trials.
        examples: or training examples of all its trials, each pass over one counted.
        seconds: or training and scoring of all its trials.
        space: "default" tunes as many dimensions of every method, "full" all it has.
        objective: on validation: "score"; "score+ece" and "score+gap" give a Pareto front.
        trial_seeds: runs of a trial, its score their mean.
        pruner: "asha" or "wilcoxon" end poor trials early; or "none".
        storage: URL of the studies, as Optuna takes it, or ``journal:FILE``; None keeps them in
            the results folder.
        seed: of the search.
        stack: most runs that share one copy of the backbone; None lets a whole wave share it.
        workers: see `run`.
        engine: "local"; more computers take part by the same call with the same storage.
        retry: see `run`.
        offline: see `run`.
        progress: see `run`.
        command: see `run`.

    Returns:
        All that the results folder holds now; its `studies` are the searches.

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
        methods: only these methods of the suite; likewise ``tasks``.
        tasks: only these.
        seeds: instead of the suite's own: a list, or a number of seeds counted from 0.
        backbone: instead of the suite's: built-in name, folder, or ``owner/name@revision``.
        data: read ``<data>/<task>/<split>.parquet`` instead of the hub.
        precision: of all arithmetic, or "auto"; None takes the suite's.
        offline: refuse what only the hub has, before any connection is tried.

    Returns:
        A row for each cell with the sizes of its splits, and "ok", why it will be skipped, or why
        it would fail: its longest inputs are tried on the real model, forward and backward.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
    """
    given = locals()
    from gapbench.bench.api.planning import checked

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
        suite: as for `check`, and so are all that follow but the last three.
        methods: only these methods of the suite; likewise ``tasks``.
        tasks: only these.
        seeds: instead of the suite's own: a list, or a number of seeds counted from 0.
        backbone: instead of the suite's.
        data: folder to read instead of the hub.
        precision: of all arithmetic.
        offline: refuse what only the hub has.
        results: the results folder.
        engine: for which the time is estimated, as for `run`.
        workers: likewise; None takes as many as `run` would.

    Returns:
        A row for each cell: its runs, how many are done, and seconds left on one worker, NaN where
        no stored run tells.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
    """
    given = locals()
    from gapbench.bench.api.planning import planned

    return planned(**given).frame()
