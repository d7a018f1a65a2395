"""Eight writers on one small disk, a hundred of them killed, files cut off, clocks set anywhere.

Afterwards every record can be read or is reported, none was done twice, none that was finished and
left whole is missing, and running again completes the plan.
"""

import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from gapbench.bench.core.errors import RecordError
from gapbench.bench.store.record import Record
from gapbench.bench.store.store import Store, store_at
from tests.integration.chaos.disks import fill, mount, unmount
from tests.integration.chaos.writers import ROWS, RUNS, write_runs
from tests.support.small_suite import PROCESSES, make, run_command

WRITERS, KILLS = 8, 100
YEARS = (86400.0, 4102444800.0)  # 1970 and 2100


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that can be filled up; where none can be mounted, an ordinary one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    limited = mount(folder, 4096) is None
    yield folder
    if limited:
        unmount(folder)


@dataclass
class Chaos:
    """What is done to the writers and to their files, and what must still hold after it."""

    root: Path
    ledgers: Path
    draw: random.Random
    broken: Counter[int] = field(default_factory=Counter)  # finished records cut off, by seed
    done: Counter[str] = field(default_factory=Counter)
    started: int = 0

    @property
    def store(self) -> Store:
        """The folder that suffers."""
        return Store(self.root)

    def start(self, *, for_ever: bool) -> BaseProcess:
        """Start one more writer, with a seed of its own."""
        self.started += 1
        arguments = (self.root, self.ledgers, self.started)
        process = PROCESSES.Process(
            target=write_runs, args=arguments, kwargs={"for_ever": for_ever}
        )
        process.start()
        return process

    def kill(self, writers: list[BaseProcess]) -> None:
        """Kill a writer wherever it is, and let another take its place."""
        place = self.draw.randrange(len(writers))
        writers[place].kill()
        writers[place].join()
        assert writers[place].exitcode == -signal.SIGKILL
        writers[place] = self.start(for_ever=True)
        self.done["kills"] += 1

    def cut(self) -> None:
        """Cut off a finished record, or its predictions, at some byte."""
        run = self.draw.choice(RUNS)
        if not self.store.settled(run):
            return
        path = self.store.record_path(run)
        if self.draw.random() < 0.5:
            path = path.with_suffix(".parquet")
        # A record less its last line break is whole.
        os.truncate(path, self.draw.randrange(path.stat().st_size - 1))
        self.broken[run.seed] += 1
        self.done["cuts"] += 1

    def set_clock(self) -> None:
        """Give some files times long ago or far ahead."""
        for path in self.draw.sample(sorted(self.root.rglob("*")), 20):
            try:
                os.utime(path, (self.draw.choice(YEARS),) * 2)
            except FileNotFoundError:
                continue  # a writer was done with it
        self.done["clocks"] += 1

    def fill_up(self) -> None:
        """Leave no room on the disk for a while."""
        ballast = self.root.parent / "ballast"
        fill(ballast)
        time.sleep(0.1)
        ballast.unlink()
        self.done["full disks"] += 1

    def ledger(self, what: str) -> dict[int, list[str]]:
        """Return what writers say they began, finished or were refused: tokens by seed."""
        found: dict[int, list[str]] = defaultdict(list)
        for path in self.ledgers.iterdir():
            for line in path.read_text().splitlines():
                kind, seed, rest = line.split(" ", 2)
                if kind == what:
                    found[int(seed)].append(rest)
        return found

    def cut_short(self) -> int:
        """Return how many writers were killed in the middle of a run."""
        ends = [path.read_text().splitlines()[-1:] for path in self.ledgers.iterdir()]
        return sum(line.startswith("began") for last in ends for line in last)


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_by_a_hundred_kills(
    disk: Path, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Kills, cut-off files, wrong clocks and full disks leave the store in order."""
    (tmp_path / "ledgers").mkdir()
    draw = random.Random(8)  # noqa: S311 - not for secrets
    chaos = Chaos(store_at(disk / "results").root, tmp_path / "ledgers", draw)
    limited = os.path.ismount(disk)
    writers = [chaos.start(for_ever=True) for _ in range(WRITERS)]
    try:
        while chaos.done["kills"] < KILLS:
            time.sleep(draw.uniform(0, 0.1))
            chaos.kill(writers)
            for _ in range(6):
                chaos.cut()
            if chaos.done["kills"] % 10 == 5:
                chaos.set_clock()
                if limited:
                    chaos.fill_up()
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    _check(chaos)
    for writer in [chaos.start(for_ever=False) for _ in range(WRITERS)]:
        writer.join()
        assert writer.exitcode == 0
    assert all(isinstance(item, Record) for item in chaos.store.records())
    _check(chaos)
    assert all(chaos.store.settled(run) for run in RUNS)
    assert not list(chaos.root.rglob("*.part"))
    counts = {what: _lines(chaos, what) for what in ("began", "finished", "refused")}
    counts["cut short"] = chaos.cut_short()
    record_testsuite_property("chaos", dict(chaos.done) | counts | {"writers": chaos.started})
    assert counts["cut short"] > KILLS / 10
    assert not limited or counts["refused"] > 0


def _lines(chaos: Chaos, what: str) -> int:
    return sum(map(len, chaos.ledger(what).values()))


def _check(chaos: Chaos) -> None:
    """Check what must hold at any moment at which nobody writes."""
    finished, stored = chaos.ledger("finished"), _stored(chaos.store)
    for run in RUNS:
        tokens, broken = finished[run.seed], chaos.broken[run.seed]
        # A kill may have come between the record and the ledger, so there may be fewer lines.
        assert len(tokens) <= broken + 1, f"run {run.seed} was done twice"
        if len(tokens) > broken:
            assert stored.get(run.seed) in tokens, f"run {run.seed} was lost or replaced"


def _stored(store: Store) -> dict[int, str]:
    """Return the token of every whole record by seed; what cannot be read must say so."""
    found: dict[int, str] = {}
    for item in store.records():
        if isinstance(item, RecordError):
            assert "run the suite again" in str(item)
            continue
        predictions = store.predictions(item.run)
        assert predictions is not None
        assert predictions.num_rows == ROWS
        found[item.seed] = item.notes["token"]
    return found


@pytest.mark.slow
def test_command_that_is_killed_and_whose_files_are_cut_off_completes_its_plan(
    disk: Path, tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """`gapbench run` itself, killed and robbed of bytes over and over again, gets to the end."""
    small = make(tmp_path / "small", make_backbone("bert"), methods=["majority"], seeds=12)

    def run(store: Store, seconds: float | None = None) -> int | None:
        """Run the suite, killed after so many seconds; return how the process ended."""
        command = ("run", *small.planning, "--results", store.root, "--stack", "1")
        process = PROCESSES.Process(target=run_command, args=(tmp_path / "out", *command))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        return process.exitcode

    assert run(Store(tmp_path / "first")) == 0  # what only the first command loads
    began = time.monotonic()
    assert run(Store(tmp_path / "whole")) == 0
    whole_s = time.monotonic() - began
    draw = random.Random(12)  # noqa: S311 - not for secrets
    store = Store(disk / "results")
    kept: dict[Path, bytes] = {}
    kills = cuts = 0
    while kills < 6 or cuts < 20:
        kills += run(store, draw.uniform(0.3, 1) * whole_s) == -signal.SIGKILL
        whole = {store.record_path(r.run): r for r in store.records() if isinstance(r, Record)}
        assert all(path.read_bytes() == content for path, content in kept.items())
        for victim in draw.sample(sorted(whole), len(whole) // 2):
            os.truncate(victim, draw.randrange(victim.stat().st_size - 1))
            cuts += 1
            del whole[victim]
        kept = {path: path.read_bytes() for path in whole}
    assert run(store) == 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert len([r for r in store.records() if isinstance(r, Record) and r.status == "ok"]) == 12
