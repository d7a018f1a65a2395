"""Processes that work off a plan in one results folder, as many as there are, until it is done.

Each writes what it has finished into a ledger of its own, outside of the folder that suffers.
"""

import os
import random
import time
from pathlib import Path

import pyarrow as pa

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import StoreError
from gapbench.bench.store.store import Store
from tests.support.small_suite import CELL, blank

RUNS = [Run(CELL, seed) for seed in range(200)]
ROWS = 40


def write_runs(root: Path, ledgers: Path, seed: int, *, for_ever: bool) -> None:
    """Do whatever nobody else does, in an order of its own.

    Args:
        root: the results folder.
        ledgers: the folder for ledgers.
        seed: of this process.
        for_ever: look for more when all is done, until killed; else end.
    """
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    # Some of the writers live in other years, and time does not always go on for them.
    time.time = lambda: draw.choice([0.0, 4e9, -draw.random()])
    store = Store(root)
    ledger = os.open(ledgers / str(seed), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    refused = True
    while for_ever or refused or not all(store.settled(run) for run in RUNS):
        refused = False
        time.sleep(0.02)  # others need the processor too
        for run in draw.sample(RUNS, len(RUNS)):
            try:
                _do(store, run, ledger, draw)
            except StoreError as error:
                os.write(ledger, f"refused {run.seed} {error}\n".encode())
                refused = True
                time.sleep(0.01)  # the disk is full for a while


def _do(store: Store, run: Run, ledger: int, draw: random.Random) -> None:
    if store.settled(run):
        return
    with store.claim([run]) as mine:
        for claimed in mine:
            token = f"{os.getpid()}-{draw.getrandbits(64):x}"
            os.write(ledger, f"began {claimed.seed} {token}\n".encode())
            time.sleep(draw.uniform(0, 0.05))  # training
            values = [draw.random() for _ in range(ROWS)]
            table = pa.table({"example_id": range(ROWS), "logit_0": values})
            store.write(blank(claimed, notes={"token": token}), {"test": table})
            os.write(ledger, f"finished {claimed.seed} {token}\n".encode())
