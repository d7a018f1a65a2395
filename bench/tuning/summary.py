"""A study with its analysis, as stored for reports: the schema, and reading it back.

    <results>/tuning/<study>/summary.json    the study and what its trials say about tuning
    <results>/tuning/<study>/trials.csv      the same trials as a table, for people

Imports neither torch nor optuna; both files are written by `bench.tuning.analysis`.
"""

from pathlib import Path

from pydantic import Field

from gapbench.bench.core.errors import RecordError
from gapbench.bench.core.schema import FrozenModel, read_versioned
from gapbench.bench.store.store import STUDIES
from gapbench.bench.tuning.schema import StudyFile, TrialRow, TrialState

SUMMARY_VERSION = 1


class BudgetPoint(FrozenModel):
    """Validation score of the best of a number of trials, in the metric's own direction."""

    trials: int = Field(ge=1)
    expected: float = Field(description="mean over draws with replacement, Dodge et al. 2019")
    deviation: float = Field(ge=0, description="standard deviation over these draws")
    low: float = Field(description="lower end of the central 80 % of these draws")
    high: float = Field(description="upper end")
    unbiased: float = Field(description="mean over draws without replacement, Tang et al. 2020")


class Tally(FrozenModel):
    """Total cost of a study's trials, including failed, pruned and unfinished ones."""

    trials: int
    states: dict[str, int] = Field(description="number of trials by state")
    seconds: float
    steps: int
    examples: int
    flops: float
    compute: float | None = Field(default=None, description="compute in trials of plain LoRA")


class Importances(FrozenModel):
    """Shares of the searched settings in the success of the best trials, largest first."""

    shares: dict[str, float] | None = Field(default=None, description="shares by setting, sum 1")
    absent: str | None = Field(default=None, description="reason why there are none")
    top: int | None = Field(default=None, description="number of trials that count as the best")


class Summary(FrozenModel):
    """One study and its analysis."""

    schema_version: int = SUMMARY_VERSION
    study: StudyFile
    tally: Tally
    expected_best: tuple[BudgetPoint, ...] = Field(description="empty if no trial has a score")
    importances: Importances
    optimism: float | None = Field(
        default=None,
        description="best validation score minus `tuned_test`, less what separates the two splits "
        "for the default settings; sign flipped where lower is better",
    )
    gain: float | None = Field(
        default=None,
        description="`tuned_test` minus `default_test`, sign flipped where lower is better",
    )


def score_of(trial: TrialRow) -> float | None:
    """Return a trial's validation score; only complete trials have one: others stopped early."""
    return trial.validation_score if trial.state is TrialState.COMPLETE else None


def read(folder: Path) -> StudyFile | None:
    """Return the study that was written into a folder, None if there is none or it is damaged."""
    try:
        path = folder / "summary.json"
        return read_versioned(path, Summary, SUMMARY_VERSION, damaged="", foreign="").study
    except RecordError:
        return None


def read_summaries(results: Path) -> list[Summary]:
    """Return the studies of a results folder by suite, task, backbone, method, variant and name.

    Raises:
        RecordError: if one cannot be read.
    """
    remedy = "run 'gapbench tune' again to rewrite it"
    found = [
        read_versioned(path, Summary, SUMMARY_VERSION, damaged=remedy, foreign=remedy)
        for path in sorted((results / STUDIES).glob("*/summary.json"))
    ]
    return sorted(found, key=lambda summary: _place(summary.study))


def _place(study: StudyFile) -> tuple[str, ...]:
    return (study.suite, study.task, study.backbone, study.method, study.variant, study.name)
