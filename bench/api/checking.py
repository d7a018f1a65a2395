"""Results of `check`: sizes and oddities of data, and whether every cell can run."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from gapbench.bench.adaptation.build import unsupported_reason
from gapbench.bench.api import blocks
from gapbench.bench.api.planning import Overview, add_memory, estimate, named, request
from gapbench.bench.api.progress import number_of
from gapbench.bench.config.run import Run
from gapbench.bench.core.errors import BenchError
from gapbench.bench.core.process import choose_device
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution.cost_model import Costs
from gapbench.bench.experiment.schema import SuiteLike
from gapbench.bench.profiling import dry_run
from gapbench.bench.profiling.self_check import checked_backbone
from gapbench.bench.tasks import dataset, kinds
from gapbench.bench.training.second_tests import count_known, ready_tests

_FAILS = "fails: "


def checked(suite: SuiteLike, **part: Any) -> Overview:
    """Return a row for each cell of a suite, with errors and doubts; see `calls.check`."""
    wanted = request(suite, **part)
    runs = {(p.run.cell.hash, p.variant): p.run for p in wanted.planned}
    dry_runs: dict[str, str | None] = {}
    rows = {
        key: named(run.cell, key[1]) | _checked(run, wanted.sources, dry_runs)
        for key, run in runs.items()
    }
    said = [line for row in rows.values() for line in (*_failure(row), *_doubts(row))]
    notes = list(dict.fromkeys(said))
    sound = [p.run for p in wanted.planned if "train" in rows[p.run.cell.hash, p.variant]]
    notes += blocks.notes(sound, wanted.sources, classes=True)
    verdicts = [rows[p.run.cell.hash, p.variant]["verdict"] for p in wanted.planned]
    failing = sum(verdict.startswith(_FAILS) for verdict in verdicts)
    skipped = len(verdicts) - failing - verdicts.count("ok")
    rest = f", of which {skipped} will be skipped (see their verdict)" if skipped else ""
    if not failing:
        costs = Costs(wanted.sources)
        notes.append(estimate(wanted.runs, costs))
        counts = Counter((p.run.cell.hash, p.variant) for p in wanted.planned)
        notes += add_memory(((row, runs[k].cell, counts[k]) for k, row in rows.items()), costs)
    fail = f"is not valid: {number_of(failing, 'run')} would fail (see their verdict);"
    state = fail if failing else "is valid:"
    notes.append(f"suite {wanted.suite.name!r} {state} {number_of(len(verdicts), 'run')}{rest}")
    return Overview(list(rows.values()), notes, failing)


def _checked(run: Run, sources: Sources, dry_runs: dict[str, str | None]) -> dict[str, Any]:
    """Return what `_sizes_and_verdict` does, or what is wrong with the data or the backbone."""
    try:
        return _sizes_and_verdict(run, sources, dry_runs)
    except BenchError as error:  # the other cells may be right, or wrong in another way
        return {"verdict": f"{_FAILS}{error}"}


def _failure(row: dict[str, Any]) -> Iterator[str]:
    """Yield why a cell would fail; the table may be too narrow for it."""
    if row["verdict"].startswith(_FAILS):
        yield row["verdict"].removeprefix(_FAILS)


def _sizes_and_verdict(
    run: Run, sources: Sources, dry_runs: dict[str, str | None]
) -> dict[str, Any]:
    """Return the sizes of a cell's splits, and whether its method supports it.

    Args:
        run: run of the cell.
        sources: sources of data and backbones.
        dry_runs: results of dry runs, shared by cells that differ only in optimiser settings.
    """
    cell, device = run.cell, choose_device("auto")
    backbone = checked_backbone(cell, sources, device)
    if isinstance(backbone, str):
        return {"verdict": backbone}
    splits = dataset.prepare(cell, sources, backbone.reader, run.seed)
    tests = ready_tests(cell, sources, backbone.reader)
    reason = unsupported_reason(cell, backbone)
    if reason is None:
        key = content_hash(cell.model_dump(mode="json", exclude={"training"}))
        if key not in dry_runs:
            dry_runs[key] = dry_run.failure(run, backbone, splits, device, tests)
        reason = dry_runs[key] and f"{_FAILS}{dry_runs[key]}"
    whole = {"test": splits.test, **splits.more} if run.block else splits.open  # see `blocks`
    absent = partial(kinds.get(cell.task.kind).absent_classes, cell.task)
    return {
        **dict.fromkeys(("train", "validation", "test"), 0),
        **{name: len(split) for name, split in splits.open.items()},
        **{test.test.name: len(test.subset.examples) for test in tests},
        **{f"train_overlap_{split}": count for split, count in splits.train_overlap.items()},
        **{
            f"train_overlap_{test.test.name}": count
            for test in (() if splits.tests_only else tests)
            if (count := count_known(splits.train, test.subset.split)) is not None
        },
        **{f"cut_{n}": int(s.cut.sum()) for n, s in splits.open.items() if s.cut is not None},
        **{
            f"escaped_{n}": int(s.escaped.sum())
            for n, s in splits.open.items()
            if s.escaped is not None and s.escaped.any()
        },
        **{
            f"cut_{test.test.name}": int(test.subset.split.cut.sum())
            for test in tests
            if test.subset.split.cut is not None
        },
        **{f"absent_{n}": ", ".join(found) for n, s in whole.items() if (found := absent(s))},
        "mean_tokens": round(float(splits.read_first.lengths.mean()), 1),
        "steps": 0 if splits.tests_only else cell.budget.total_steps(len(splits.train.trained)),
        "verdict": reason or "ok",
    }


def _doubts(row: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each split of a row of `check` with inputs that may surprise."""
    for split in _splits(row, "train_overlap_"):
        if count := row[f"train_overlap_{split}"]:
            yield (
                f"task {row['task']!r}: {count} of {row[split]} {split} inputs are in train too; "
                "their scores reward memorisation; remove them from one of the two"
            )
    for split in _splits(row, "cut_"):
        if count := row[f"cut_{split}"]:
            yield (
                f"task {row['task']!r}: {count} of {row[split]} {split} inputs are too long for "
                f"backbone {row['backbone']!r} or for field 'max_length' of their own task, and "
                "lose words; raise it up to the backbone's limit, or shorten them"
            )
    for split in _splits(row, "escaped_"):
        yield (
            f"task {row['task']!r}: {row[f'escaped_{split}']} of {row[split]} {split} inputs hold "
            f"words that are special tokens of backbone {row['backbone']!r}, and are read as plain "
            "text; for a pair of texts give two columns in 'text'"
        )
    for split in _splits(row, "absent_"):
        what = "no model can learn it" if split == "train" else "its scores say nothing of it"
        yield (
            f"task {row['task']!r}: {split} has no example of class {row[f'absent_{split}']}, so "
            f"{what}; add some, or remove it from the task's field 'labels'"
        )


def _splits(row: dict[str, Any], prefix: str) -> list[str]:
    """Return the splits that a row of `check` has an entry of, second tests included."""
    return [name.removeprefix(prefix) for name in row if name.startswith(prefix)]
