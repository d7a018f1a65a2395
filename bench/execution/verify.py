"""Run a random sample of a folder's runs again, and compare with what is stored."""

import random
from dataclasses import dataclass
from pathlib import Path

from gapbench.bench.core.errors import RecordError
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.reproduce import Reproduction, reproduce
from gapbench.bench.store import submission
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.store.submission import Submission

_REPEATABLE = (Status.OK, Status.DIVERGED)


@dataclass(frozen=True, repr=False)
class Verification:
    """Runs that were run again.

    Attributes:
        runs: number of runs that the sample was drawn from.
        manifest: of a packed folder, whose files all agree with it; None if it has none.
        found: the sample, each with its differences.
    """

    runs: int
    manifest: Submission | None
    found: tuple[Reproduction, ...]

    @property
    def same(self) -> bool:
        """Whether all runs came out as they are stored."""
        return all(each.same for each in self.found)

    @property
    def rows(self) -> list[dict[str, str]]:
        """A row for each run of the sample."""
        return [
            {
                "run": each.run,
                "before": each.status_before,
                "now": each.status_now,
                "largest difference": f"{each.largest:.2g}",
                "": "same" if each.same else f"drifted: {', '.join(each.drifts) or 'status'}",
            }
            for each in self.found
        ]

    @property
    def conclusion(self) -> str:
        """How many runs came out the same."""
        same = sum(each.same for each in self.found)
        files = ""
        if self.manifest is not None:
            files = f" All {len(self.manifest.files)} files agree with the manifest."
        return f"{same} of {len(self.found)} runs are the same, drawn from {self.runs}.{files}"

    def __repr__(self) -> str:
        lines = ["  ".join(filter(None, row.values())) for row in self.rows]
        return "\n".join([*lines, self.conclusion])


def verify(path: Path, rows: int, seed: int, sources: Sources, device: str) -> Verification:
    """Run a sample of a results folder, or of an archive of one, again.

    Args:
        path: folder or archive.
        rows: size of the sample, at most; runs that were skipped or failed are not drawn.
        seed: of the draw.
        sources: where data and backbones are.
        device: to compute on.

    Raises:
        StoreError: if a packed folder does not agree with its manifest.
        RecordError: if there is no run to draw, or the data of one are missing.
        BackboneError: if the backbone of one is missing.
    """
    with submission.opened(path) as folder:
        manifest = submission.check(folder)
        store = Store(folder)
        places = sorted(
            store.place(record.run)
            for record in store.records()
            if isinstance(record, Record) and record.status in _REPEATABLE
        )
        if not places:
            raise RecordError(f"{path} holds no run that ended; give a folder with records")
        drawn = random.Random(seed).sample(places, min(rows, len(places)))  # noqa: S311
        found = tuple(reproduce(store, str(folder / one), sources, device) for one in drawn)
    return Verification(len(places), manifest, found)
