"""Run a stored record again, alone, and compare the numbers."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gapbench.bench.core.errors import RecordError
from gapbench.bench.core.process import choose_device
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.stack_executor import Executor
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.record_io import TEST, read_record
from gapbench.bench.store.store import Store, store_at

TOLERANCE = 1e-4  # for float32 numbers; the same machine and threads usually give equality


@dataclass(frozen=True, repr=False)
class Reproduction:
    """Differences between a stored record and its repetition.

    Attributes:
        drifts: (stored, repeated) by field, for numbers further apart than `TOLERANCE`.
        largest: largest absolute difference of any number.
        detail: reason why the repetition is not ok.
    """

    run: str
    status_before: str
    status_now: str
    drifts: dict[str, tuple[float | None, float | None]]
    largest: float
    detail: str | None = None

    @property
    def same(self) -> bool:
        """Whether status and all numbers agree."""
        return self.status_before == self.status_now and not self.drifts

    @property
    def drift_lines(self) -> list[str]:
        """A readable line for every number that drifted."""
        return [f"drifted: {name}: {a} before, {b} now" for name, (a, b) in self.drifts.items()]

    def __repr__(self) -> str:
        lines = [f"{self.run}: {self.status_before} before, {self.status_now} now"]
        if self.same:
            lines.append(f"same: no number differs by more than {self.largest:.2g}")
        if self.detail:
            lines.append(self.detail)
        return "\n".join(lines + self.drift_lines)


def reproduce(store: Store, name: str, sources: Sources, device: str) -> Reproduction:
    """Run the record called ``name`` (file or run hash) again without storing the result.

    Raises:
        RecordError: if there is no such record, or its data are missing.
        BackboneError: if its backbone, or the adapter that it starts from, is missing.
    """
    record = stored(store, name, sources)
    run, sealed = record.run, record.status == Status.OK and TEST not in record.splits
    with tempfile.TemporaryDirectory() as folder:
        scratch = store_at(Path(folder))
        executor = Executor(scratch, sources, choose_device(device), sealed=sealed)
        executor.run([run], lambda _: None)
        again = scratch.find(run)
    if again is None:
        raise RecordError(f"{run}: the repetition left no record")
    return compare(record, again)


def stored(store: Store, name: str, sources: Sources) -> Record:
    """Return the record called ``name`` (file or run hash) if its data and backbone are there.

    Raises:
        RecordError: if there is no such record, or its data are missing.
        BackboneError: if its backbone, or the adapter that it starts from, is missing.
    """
    record = _find(store, name)
    run = record.run
    if record.cell.data.name == "files" and sources.data_folder is None:
        raise RecordError(f"{run} was trained on local files; give their folder with --data DIR")
    if sources.data(record.cell.task).digest != record.cell.data.digest:
        raise RecordError(
            f"{run}: the data here differ from those it was trained on "
            f"(digest {record.cell.data.digest})"
        )
    for test in record.cell.also_test:
        if sources.data(test.task).digest != test.data.digest:
            raise RecordError(
                f"{run}: the data of its second test {test.name!r} differ here from those that it "
                f"was scored on (digest {test.data.digest})"
            )
    sources.locate(record.cell.backbone)  # fails here, not inside the run
    if record.cell.start is not None:
        sources.locate_start(record.cell.start)
    return record


def _find(store: Store, name: str) -> Record:
    path = Path(name)
    if path.suffix == ".json":
        return read_record(path)
    records = (record for record in store.records() if isinstance(record, Record))
    found = [record for record in records if name and record.run_hash.startswith(name)]
    if len(found) > 1:
        raise RecordError(
            f"{len(found)} run hashes under {store.root} begin with {name!r}; give more characters"
        )
    if not found:
        raise RecordError(
            f"no run hash under {store.root} begins with {name!r}; `gapbench report` lists them"
        )
    return found[0]


def compare(before: Record, now: Record) -> Reproduction:
    """Return the differences between a stored record and its repetition."""
    old, new = dict(_numbers(before)), dict(_numbers(now))
    drifts, largest = {}, 0.0
    # Older records lack calibration measures that were added later, and all of them for kinds of
    # task that had none then.
    fields = old.keys() | {field for field in new if not field.startswith("calibration.")}
    for field in sorted(fields):
        first, second = old.get(field), new.get(field)
        if first is None or second is None:
            differs = first is not second
        else:
            largest = max(largest, abs(first - second))
            differs = abs(first - second) > TOLERANCE * max(1.0, abs(first))
        if differs:
            drifts[field] = (first, second)
    return Reproduction(str(before.run), before.status, now.status, drifts, largest, now.detail)


def _numbers(record: Record) -> Iterator[tuple[str, float | None]]:
    """Yield every number that must not depend on the execution."""
    for split, scores in record.splits.items():
        yield f"{split}.loss", scores.loss
        for metric, value in scores.metrics.items():
            yield f"{split}.{metric}", value
        for metric, value in scores.bare.items():
            yield f"{split}.bare.{metric}", value
        if scores.ece is not None:
            yield f"calibration.{split}.ece", scores.ece
        for part, values in scores.parts.items():
            for metric, value in values.items():
                kind = "" if metric in scores.metrics else "calibration."
                yield f"{kind}{split}.{metric}.{part}", value
    if record.calibration:
        for name, value in record.calibration.model_dump(exclude_unset=True).items():
            yield f"calibration.{name}", value
    if record.checkpoint:
        yield "checkpoint.step", record.checkpoint.step
