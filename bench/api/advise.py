"""`advise` of the Python API: from rows to an advised configuration, within a time budget."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from gapbench.bench.api.calls import Names, Place
from gapbench.bench.api.choices import CHECKPOINT_MINUTES, FOLDS, IDLE_THREADS, REPEATS

if TYPE_CHECKING:
    import pandas as pd

    from gapbench.bench.api.advising.answer import Advice
    from gapbench.bench.experiment.schema import SuiteLike


def advise(
    source: SuiteLike | pd.DataFrame,
    *,
    text: Names = None,
    label: str | None = None,
    target: str | None = None,
    kind: str | None = None,
    group: str | None = None,
    test: Place = None,
    budget: float | None = None,
    methods: Names = None,
    arms: int | None = None,
    matters: float | None = None,
    at_most_cost: float | None = None,
    at_most_ece: float | None = None,
    at_most_seconds: float | None = None,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    tasks: Names = None,
    backbone: Place = None,
    data: Place = None,
    export: Place = None,
    results: str | PathLike[str] = "results",
    device: str = "auto",
    precision: str | None = None,
    quantization: str | None = None,
    workers: int | None = None,
    engine: str = "local",
    offline: bool = False,
    progress: bool = True,
    command: Sequence[str] | None = None,
) -> Advice:
    """Race methods and settings on folds of the rows, then score what is left on sealed test rows.

    Calling it again resumes, and a second call at the same time helps.

    Args:
        source: own rows as a data frame or a file, with ``text`` and ``label`` or ``target``; or a
            suite, as `run` takes it.
        text: columns that the model reads.
        label: column with the class or value to predict.
        target: column with the text to generate.
        kind: kind of task; None infers it from the labels.
        group: column whose equal values stay in one part.
        test: file of rows to test on; None holds out a fifth of the rows.
        budget: seconds until the answer; None sets no limit.
        methods: methods to race; None for LoRA and the controls of the four papers, or the suite's.
        arms: number of combinations of method and settings; plain LoRA is always one. None for 12,
            or as many as fit the budget.
        matters: least difference in score that matters; None for 1 % of the best possible.
        at_most_cost: largest cost of training and scoring, relative to plain LoRA.
        at_most_ece: largest calibration error.
        at_most_seconds: largest time of a run.
        folds: parts into which rows are cut; each block of the race validates on one.
        repeats: cuts that are planned; a race ends earlier once further blocks would not help.
        tasks: the one task of a suite to advise on.
        backbone: model to train; None for a built-in one, or the suite's.
        data: of a suite, see `run`.
        export: folder to write the winner's adapter to.
        results: results folder; the race is in its folder ``race``.
        device: see `run`.
        precision: see `run`.
        quantization: see `run`.
        workers: see `run`.
        engine: see `run`.
        offline: see `run`.
        progress: see `run`.
        command: see `run`.

    Returns:
        The answer; its `results` are the runs that were scored on the test rows.

    Raises:
        ConfigError, DataError, BackboneError: naming the invalid or missing input.
        StoreError: if a folder cannot be written.
        KeyboardInterrupt: if the work was interrupted; finished runs are stored.
    """
    given = locals()
    os.environ.setdefault(*IDLE_THREADS)
    from gapbench.bench.api.advising.start import advised

    return advised(given | {"checkpoint_minutes": CHECKPOINT_MINUTES})
