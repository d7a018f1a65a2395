"""The queue of stacks: their order, the time budget and the progress.

An engine takes stacks from the queue and reports their results to it. Only the queue decides which
stack comes next, and whether it still fits into the time.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gapbench.bench.config.run import Run
from gapbench.bench.store.record import Status

ATTEMPTS = 3
"""Number of times that a stack is tried if its worker dies."""

GridProgress = Callable[[float, Counter[Status]], None]
"""Called with the number of runs done (fractional) and the statuses so far."""
Ended = Callable[[Sequence[Run], Mapping[str, Status]], None]
"""Called with a stack that has ended and the statuses of its runs by hash."""


@dataclass(frozen=True, eq=False)
class Job:
    """A stack, and its expected cost.

    Attributes:
        runs: runs that may share a backbone.
        seconds: expected seconds; None if no similar stack has been measured.
        relative_cost: cost relative to other stacks, in an arbitrary unit.
        memory_bytes: approximate memory that a worker needs.
        trains: whether it makes steps; the time of other stacks is estimated from those that do.
        round: under a time budget, all stacks of one round come before those of the next.
    """

    runs: Sequence[Run]
    seconds: float | None = None
    relative_cost: float = 1.0
    memory_bytes: float = 0.0
    trains: bool = True
    round: int = 0


@dataclass
class WorkQueue:
    """The stacks of one invocation, in the order given; under a time budget cheap ones first.

    Attributes:
        budget_s: seconds from the first request for a stack until all work ends. Stacks that would
            probably end later are begun only if no other is left; running stacks are saved. None
            sets no limit.
        ended: called with every stack that ends.
        statuses: number of runs that have ended, by status.
        left: stacks that were not begun in time, and the rest of those that were cut off.
    """

    jobs: Iterable[Job]
    progress: GridProgress
    budget_s: float | None = None
    ended: Ended = lambda *_: None
    statuses: Counter[Status] = field(default_factory=Counter)
    left: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waiting = deque(self.jobs)
        self._deaths: Counter[Job] = Counter()
        self._shares: dict[Job, float] = {}  # shares of running stacks
        self._done = 0
        self._began: float | None = None
        known = [job for job in self._waiting if job.seconds is not None and job.trains]
        self._known_seconds = sum(job.seconds or 0.0 for job in known)
        self._known_cost = sum(job.relative_cost for job in known)
        self._run_seconds: dict[str, float] = {}  # measured just now, by cell

    def __len__(self) -> int:
        """Return the number of waiting stacks."""
        return len(self._waiting)

    def waiting(self) -> list[Job]:
        """Return the waiting stacks."""
        return list(self._waiting)

    def next(self) -> Job | None:
        """Return the next stack that fits into the time, and mark it as running."""
        if self._began is None:
            self._began = time.monotonic()
        if self.seconds_left() == 0.0:
            self.left += self._waiting
            self._waiting.clear()
        while self._waiting:
            job = self._pop()
            if self._fits(job):
                self._shares[job] = 0.0
                return job
            self.left.append(job)
        return self._begin_of_left()

    def take_all(self) -> list[Job]:
        """Return all stacks, and mark them as running."""
        jobs = list(self._waiting)
        self._waiting.clear()
        self._shares |= dict.fromkeys(jobs, 0.0)
        return jobs

    def advance(self, job: Job, share: float) -> None:
        """Note the share of a stack that is done."""
        self._shares[job] = share
        self.show()

    def end(self, job: Job, statuses: Mapping[str, Status], seconds: float | None = None) -> None:
        """Note the statuses of a stack's runs, by run hash, and the time it took."""
        del self._shares[job]
        self._done += len(job.runs)
        self.statuses.update(statuses.values())
        self.ended(job.runs, statuses)
        cut = [run for run in job.runs if run.hash not in statuses]
        if cut and self.seconds_left() == 0.0:
            self.left.append(self._part(job, cut))
        if seconds is not None and statuses and not self._deaths[job]:
            self._run_seconds[job.runs[0].cell.hash] = seconds / len(statuses)
            if job.trains and job.seconds is None:
                self._known_seconds += seconds
                self._known_cost += job.relative_cost
        self.show()

    def died(self, job: Job) -> bool:
        """Note that the worker of a stack died; return whether the stack is tried again."""
        del self._shares[job]
        self._deaths[job] += 1
        again = self._deaths[job] < ATTEMPTS
        if again:
            self._waiting.appendleft(job)
        else:
            self._shares[job] = 0.0  # until `end` is called
        return again

    def halve(self, job: Job) -> None:
        """Put a stack that does not fit into memory back as two smaller stacks."""
        del self._shares[job]
        middle = len(job.runs) // 2
        for runs in (job.runs[middle:], job.runs[:middle]):
            self._waiting.appendleft(self._part(job, runs))

    def show(self) -> None:
        """Report the progress."""
        under_way = sum(len(job.runs) * share for job, share in self._shares.items())
        self.progress(self._done + under_way, self.statuses)

    def seconds_left(self) -> float | None:
        """Return the time left; None without a limit."""
        if self.budget_s is None or self._began is None:
            return self.budget_s
        return max(0.0, self.budget_s - (time.monotonic() - self._began))

    def _pop(self) -> Job:
        """Take the next stack: what was just measured may have changed which one is cheapest."""
        if self.budget_s is None:
            return self._waiting.popleft()
        now = self._waiting[0].round
        able = (job for job in self._waiting if job.round == now)
        job = min(able, key=self._dearness)
        self._waiting.remove(job)
        return job

    def _dearness(self, job: Job) -> tuple[bool, float, float]:
        """Return what orders stacks: those of unknown length come last, by their relative cost."""
        seconds = self.expected(job)
        return seconds == 0.0, seconds, job.relative_cost

    def _begin_of_left(self) -> Job | None:
        """Return the cheapest stack that does not fit, if there is time: the next call ends it."""
        if not self.left or not self.seconds_left():
            return None
        job = min(self.left, key=lambda job: (job.round, self._dearness(job)))
        self.left.remove(job)
        self._shares[job] = 0.0
        return job

    def _fits(self, job: Job) -> bool:
        left_s = self.seconds_left()
        return left_s is None or (left_s > 0 and self.expected(job) <= left_s)

    @staticmethod
    def _part(job: Job, runs: Sequence[Run]) -> Job:
        """Return a stack of some of a stack's runs."""
        share = len(runs) / len(job.runs)
        seconds = None if job.seconds is None else job.seconds * share
        return replace(job, runs=runs, seconds=seconds, relative_cost=job.relative_cost * share)

    def expected(self, job: Job) -> float:
        """Return the seconds of a stack, measured or estimated from stacks of this invocation."""
        if job.seconds is not None:
            return job.seconds
        each = self._run_seconds.get(job.runs[0].cell.hash)
        if each is not None:
            return each * len(job.runs)
        return (
            job.relative_cost * self._known_seconds / self._known_cost if self._known_cost else 0.0
        )
