"""Sentences about the blocks of a suite with folds: their sizes, and classes that some lack."""

from collections.abc import Iterable, Iterator

from gapbench.bench.config.run import Run
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data.rows import Rows
from gapbench.bench.data.sources import Sources
from gapbench.bench.tasks import dataset, kinds
from gapbench.bench.tasks.split_rows import cut_splits

_SPLITS = ("train", "validation")
_MOST_NAMED = 3  # blocks in one sentence


def notes(planned: Iterable[Run], sources: Sources, *, classes: bool = False) -> list[str]:
    """Return a sentence on the sizes of each task's blocks.

    Args:
        planned: runs of the suite; those without a block are passed over.
        sources: places of the tasks' rows.
        classes: whether to add a sentence for each class that train or validation of a block lacks.

    Raises:
        DataError: if rows cannot be cut.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in planned:
        if run.block:
            budget, task = run.cell.budget.train_size, run.cell.task.identity()
            key = content_hash([task, run.cell.data.digest, budget])
            found.setdefault(key, {}).setdefault(run.seed, run)
    lines: list[str] = []
    for runs in found.values():
        lines += _of_task([*runs.values()], sources, classes=classes)
    return lines


def _of_task(runs: list[Run], sources: Sources, *, classes: bool) -> Iterator[str]:
    task = runs[0].cell.task
    rows = dataset.read_rows(task, sources)
    cuts = {run: cut_splits(run, rows)[0] for run in runs}
    sizes = [_between([len(cut[split]) for cut in cuts.values()]) for split in _SPLITS]
    count = f"{len(runs)} blocks" if len(runs) > 1 else "one block"
    yield (
        f"task {task.name!r}: {count} of {len(rows['train'])} rows, each {sizes[0]} to train on "
        f"and {sizes[1]} to validate on; {len(rows['test'])} test rows stay sealed"
    )
    for split in _SPLITS if classes else ():
        lacking: dict[str, list[str]] = {}
        for run, cut in cuts.items():
            for name in _absent(run, cut[split]):
                lacking.setdefault(name, []).append(str(run.block))
        for name, blocks in lacking.items():
            more = f" and {len(blocks) - _MOST_NAMED} more" if len(blocks) > _MOST_NAMED else ""
            what = "none of its models can learn it" if split == "train" else "nothing tests it"
            yield (
                f"task {task.name!r}: {split} has no example of class {name} in "
                f"{'; '.join(blocks[:_MOST_NAMED])}{more}, so {what} there; give fewer folds, add "
                "some, or remove it from the task's field 'labels'"
            )


def _absent(run: Run, rows: Rows) -> list[str]:
    return kinds.get(run.cell.task.kind).absent_classes(run.cell.task, rows)


def _between(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
