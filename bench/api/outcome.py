"""Outcome of one call of `run` or `tune`, with sentences about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gapbench.bench.api.choices import FAILED_RUNS, INTERRUPTED, OK
from gapbench.bench.api.progress import span


@dataclass(frozen=True)
class CallOutcome:
    """Outcome of one call of `run` or `tune`.

    Attributes:
        suite: name of the suite.
        runs: number of runs in the suite.
        now: number of runs that ended in this call, by status.
        left: number of runs that were not begun because time ran out.
        seconds_left: expected seconds of these runs on one worker; None if unknown.
        elsewhere: number of runs that another process is working on.
        failures: status, run and cause of each run without a result.
        studies: a row for each study of `tune`.
        studies_without_result: how the first trial ended, of each study without a complete one.
    """

    suite: str = ""
    runs: int = 0
    now: Mapping[str, int] = field(default_factory=dict)
    left: int = 0
    seconds_left: float | None = None
    elsewhere: int = 0
    failures: Sequence[tuple[str, str, str]] = ()
    studies: Sequence[Mapping[str, Any]] = ()
    studies_without_result: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, Any]:
        """Suite, number of runs and statuses of this call, for programs."""
        return {"suite": self.suite, "runs": self.runs, "now": dict(self.now)}

    @property
    def code(self) -> int:
        """`OK`, `FAILED_RUNS` or `INTERRUPTED`; the last means that work is left."""
        stopped = any(status == "interrupted" for status, *_ in self.failures)
        if self.left or self.elsewhere or stopped:
            return INTERRUPTED
        return FAILED_RUNS if self.failures or self.studies_without_result else OK

    @property
    def messages(self) -> list[str]:
        """A sentence for every run that is not ok, and for the runs left."""
        said = [f"{status}: {run}: {cause}" for status, run, cause in self.failures]
        if self.left:
            about = f", about {span(self.seconds_left)} of one worker" if self.seconds_left else ""
            said.append(f"{self.left} runs are left{about}; run the same command again to resume")
        elif self.elsewhere:
            said.append(f"{self.elsewhere} runs are claimed by another process")
        return said + [
            f"no trial of {name} is complete; {cause}"
            for name, cause in self.studies_without_result.items()
        ]
