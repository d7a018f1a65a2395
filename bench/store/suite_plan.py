"""Plans: the runs of a suite, one row each, stored beside the records to show missing ones.

`bench.store.store` decides where they are, and holds the lock while they are written.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, with_config

from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import RecordError, StoreError
from gapbench.bench.core.files import json_text, write_text
from gapbench.bench.core.safe_parsing import parse_json

REFERENCE = "lora"
"""What methods of a suite are compared with first, where the suite names nothing else."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class PlanRow:
    """One run of a suite, with its label there."""

    suite: str
    task: str
    backbone: str
    method: str
    variant: str
    seed: int
    run_hash: str
    path: str
    start: str = ""  # name of its initial adapter
    command: str = ""  # that asked for it last, as typed
    reference: str = REFERENCE  # what the suite compares others with first

    @classmethod
    def of(
        cls, suite: str, run: Run, variant: str, path: str, command: str, reference: str = REFERENCE
    ) -> "PlanRow":
        """Return the row of a run whose record is at ``path`` in the results folder."""
        cell = run.cell
        return cls(
            suite=suite,
            task=cell.task.name,
            backbone=cell.backbone.name,
            method=cell.method,
            variant=variant,
            seed=run.seed,
            run_hash=run.hash,
            path=path,
            start=cell.start.name if cell.start else "",
            command=command,
            reference=reference,
        )

    @property
    def label(self) -> tuple[str, str, str, str, int]:
        """Key of the run in its suite, independent of its settings."""
        return self.task, self.backbone, self.method, self.variant, self.seed


_ROWS = TypeAdapter(list[PlanRow])


def read_plan(path: Path) -> list[PlanRow]:
    """Read a plan of any suite.

    Raises:
        RecordError: if the file holds no plan.
    """
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8"))
        return _ROWS.validate_python(content["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        raise RecordError(f"{path}: not a plan; delete it and run the suite again") from None


def lay_over(suite: str, path: Path, rows: Sequence[PlanRow]) -> None:
    """Add rows to the plan of a suite; they replace rows with the same labels.

    The reference is that of the new rows.

    The caller holds the plan's lock.

    Raises:
        OSError: if it cannot be written.
        RecordError: if the file that is there holds no plan.
        StoreError: if it is the plan of another suite, as where names differ in case alone on a
            disk that does not distinguish the two.
    """
    merged = {row.label: row for row in read_plan(path)} if path.is_file() else {}
    for row in merged.values():
        if row.suite != suite:
            raise StoreError(
                f"{path} is the plan of suite {row.suite!r}, and would be that of {suite!r} "
                "too; rename one of them, or give another folder with --results DIR"
            )
    merged |= {row.label: row for row in rows}
    newest = {"reference": rows[-1].reference} if rows else {}
    content = {"suite": suite, "runs": [asdict(row) | newest for row in merged.values()]}
    write_text(path, json_text(content), locked=True)
