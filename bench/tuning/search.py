"""Works on studies until their budgets are spent: one process, or several side by side.

A process visits all studies in turn. In each it runs whatever no other process holds, whether new
or left by a process that died. If others hold everything, it moves on to the next study.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from gapbench.bench.adaptation.registry import Registered, registered
from gapbench.bench.config.run import Run
from gapbench.bench.core import signals
from gapbench.bench.core.files import refuse_outside
from gapbench.bench.core.process import kill, prepare, start
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.scheduler import stacks
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.store.event_log import EventLog
from gapbench.bench.store.store import STUDIES, store_at
from gapbench.bench.training.trainer import Progress, part_of
from gapbench.bench.tuning.schema import StudyFile
from gapbench.bench.tuning.storage import connect
from gapbench.bench.tuning.study import Session
from gapbench.bench.tuning.study_plan import StudyPlan

_POLL_S = 0.2  # wait when every study waits for another process


@dataclass(frozen=True)
class SearchContext:
    """How to search, as opposed to what.

    Attributes:
        results: the results folder.
        storage: URL of the studies' storage.
        stack: largest number of runs that share a backbone; None lets a whole wave share it. The
            size is not measured, because a search must not depend on measured seconds.
        threads: number of threads of each process.
        event_log: log that notes each stack.
        methods: classes that other processes must register before they work.
    """

    results: Path
    storage: str
    sources: Sources
    device: torch.device
    stack: int | None = None
    threads: int = 1
    event_log: EventLog | None = None
    methods: Registered = field(default_factory=registered)


def folder(results: Path, plan: StudyPlan) -> Path:
    """Return the folder of a study's own runs and its analysis."""
    return results / STUDIES / plan.name


def search(
    plans: Sequence[StudyPlan], context: SearchContext, workers: int, progress: Progress
) -> list[StudyFile]:
    """Spend the budget of every study.

    Raises:
        StoreError: if the storage cannot be reached, or holds a study made with another space.
    """
    sessions = _open(plans, context)  # errors appear before other processes start
    starts = [len(plans) * number // workers for number in range(1, workers)]
    others = [start(_work_beside, [*plans[n:], *plans[:n]], context) for n in starts]
    try:
        with signals.interruptible(progress) as checked:
            prepare(context.threads)
            _work(sessions, context, checked)
    finally:
        kill(others)  # nothing is left to do, or a later search will resume it
    return [session.publish(folder(context.results, session.plan)) for session in sessions]


def _work_beside(plans: Sequence[StudyPlan], context: SearchContext) -> None:
    """Work on the same studies in another process, which starts with a different one."""
    prepare(context.threads)
    _work(_open(plans, context), context, lambda _share: None)


def _open(plans: Sequence[StudyPlan], context: SearchContext) -> list[Session]:
    for plan in plans:
        refuse_outside(context.results, folder(context.results, plan))
    (context.results / STUDIES).mkdir(parents=True, exist_ok=True)
    storage = connect(context.storage, context.results)
    return [Session(plan, storage, store_at(folder(context.results, plan))) for plan in plans]


def _work(sessions: Sequence[Session], context: SearchContext, progress: Progress) -> None:
    left = dict(enumerate(sessions))
    shares = [session.shares()[0] for session in sessions]

    def report(number: int, share: float) -> None:
        shares[number] = max(shares[number], share)
        progress(sum(shares) / len(shares))

    while left:
        moved = False
        for number, session in list(left.items()):
            runs = session.advance()
            if runs:
                moved |= _run(session, runs, context, partial(report, number))
            else:
                del left[number]
                report(number, 1.0)
        if left and not moved:
            time.sleep(_POLL_S)
            report(min(left), 0.0)


def _run(session: Session, runs: list[Run], context: SearchContext, report: Progress) -> bool:
    """Run the free part of a study's wave; return whether there was any."""
    executor = Executor(
        session.store,
        context.sources,
        context.device,
        session.prune,
        event_log=context.event_log,
    )
    spent, full = session.shares()
    each = (full - spent) / len(runs)
    moved = False
    for stack in stacks(runs, context.stack or len(runs)):
        width = each * len(stack)
        settled = executor.run(stack, part_of(report, spent, width))
        moved |= bool(settled)
        spent += width
    if moved:
        session.publish(folder(context.results, session.plan))
    return moved
