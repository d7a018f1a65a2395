"""Works on studies until their budgets are spent: one process, or several, here or on a cluster.

A process visits all studies in turn. In each it runs whatever no other process holds, whether new
or left by a process that died. If others hold everything, it moves on to the next study.
"""

import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from gapbench.bench.config.run import Run
from gapbench.bench.core import signals
from gapbench.bench.core.errors import StoreError
from gapbench.bench.core.files import refuse_outside
from gapbench.bench.core.process import choose_device
from gapbench.bench.execution import engines
from gapbench.bench.execution.cost_model import Costs
from gapbench.bench.execution.engines.base import STACKS_A_WORKER, Settings
from gapbench.bench.execution.scheduler import stacks
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.store.store import STUDIES, store_at
from gapbench.bench.training.trainer import Progress, part_of
from gapbench.bench.tuning.schema import StudyFile
from gapbench.bench.tuning.storage import connect
from gapbench.bench.tuning.study import Session
from gapbench.bench.tuning.study_plan import StudyPlan

_POLL_S = 0.2  # wait when every study waits for another process
_FOLLOW_S = 2.0


def folder(results: Path, plan: StudyPlan) -> Path:
    """Return the folder of a study's own runs and its analysis."""
    return results / STUDIES / plan.name


def search(
    plans: Sequence[StudyPlan], storage: str, settings: Settings, progress: Progress
) -> list[StudyFile]:
    """Spend the budget of every study.

    On this computer, this process works too; on a cluster it only follows.

    Args:
        plans: the studies.
        storage: URL of the storage that all studies are kept in.
        settings: engine, device and number of processes. The largest stack is a whole wave if the
            user gives none: a search must not depend on measured seconds.
        progress: called with the share of all budgets that is spent.

    Raises:
        StoreError: if the storage cannot be reached or holds a study made with another space, or
            if the processes of a cluster ended before the search did.
    """
    sessions = _open(plans, storage, settings)  # errors appear before other processes start
    engine = engines.find(settings.engine)
    # As suites do: a process for every two studies, each of which trains wave after wave of stacks.
    costs = Costs.measured(store_at(settings.results), settings.sources)
    jobs = [costs.job([Run(plan.base, 0)]) for plan in plans for _ in range(STACKS_A_WORKER // 2)]
    copy = partial(_search_beside, plans, storage, settings)
    with engine.beside(copy, jobs, settings) as any_runs, signals.interruptible(progress) as told:
        if engine.HERE:
            _work(sessions, settings, told)
        else:
            _follow(sessions, any_runs, told)
    return [session.publish(folder(settings.results, session.plan)) for session in sessions]


def _search_beside(
    plans: Sequence[StudyPlan], storage: str, settings: Settings, share: float
) -> None:
    """Work on the same studies in another process, beginning at a share of them.

    Raises:
        StoreError: if its computer does not see the results folder.
    """
    if not (settings.results / STUDIES).is_dir():
        raise StoreError(
            f"results folder {settings.results} is not on computer {socket.gethostname()}; tune on "
            "a cluster needs a folder that all of its computers share, --results DIR"
        )
    first = int(share * len(plans))
    sessions = _open([*plans[first:], *plans[:first]], storage, settings)
    _work(sessions, settings, lambda _share: signals.check())  # Slurm's, which are only noted


def _follow(sessions: Sequence[Session], any_runs: Callable[[], bool], progress: Progress) -> None:
    """Follow the search of other processes until all studies are finished.

    Raises:
        StoreError: if no process is left before that.
    """
    while True:
        going = any_runs()  # asked first, so that what has ended is recorded
        left = [session for session in sessions if session.advance()]
        if not left:
            return
        if not going:
            raise StoreError(
                f"the processes of the cluster have ended before {len(left)} of {len(sessions)} "
                "studies; the same command goes on with them"
            )
        progress(sum(session.shares()[0] for session in sessions) / len(sessions))
        time.sleep(_FOLLOW_S)


def _open(plans: Sequence[StudyPlan], storage: str, settings: Settings) -> list[Session]:
    results = settings.results
    for plan in plans:
        refuse_outside(results, folder(results, plan))
    (results / STUDIES).mkdir(parents=True, exist_ok=True)
    opened = connect(storage, results)
    return [Session(plan, opened, store_at(folder(results, plan))) for plan in plans]


def _work(sessions: Sequence[Session], settings: Settings, progress: Progress) -> None:
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
                moved |= _run(session, runs, settings, partial(report, number))
            else:
                del left[number]
                report(number, 1.0)
        if left and not moved:
            time.sleep(_POLL_S)
            report(min(left), 0.0)


def _run(session: Session, runs: list[Run], settings: Settings, report: Progress) -> bool:
    """Run the free part of a study's wave; return whether there was any."""
    executor = Executor(
        session.store,
        settings.sources,
        choose_device(settings.device),
        session.prune,
        event_log=settings.event_log,
    )
    spent, full = session.shares()
    each = (full - spent) / len(runs)
    moved = False
    for stack in stacks(runs, settings.stack or len(runs)):
        width = each * len(stack)
        settled = executor.run(stack, part_of(report, spent, width))
        moved |= bool(settled)
        spent += width
    if moved:
        session.publish(folder(settings.results, session.plan))
    return moved
