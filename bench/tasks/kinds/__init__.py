"""The kinds of task, one file each: rows, sequences and scores. See `bench.tasks.kinds.base`."""

from gapbench.bench.config.task import Kind
from gapbench.bench.tasks.kinds.base import Outputs, TaskKind, finite, of_run
from gapbench.bench.tasks.kinds.choice import Choice
from gapbench.bench.tasks.kinds.generation import Generation
from gapbench.bench.tasks.kinds.labels import Labels
from gapbench.bench.tasks.kinds.span import Span

__all__ = ["Outputs", "TaskKind", "finite", "get", "of_run"]

_KINDS: dict[Kind, TaskKind] = {
    "classification": Labels(),
    "regression": Labels(),
    "generation": Generation(),
    "choice": Choice(),
    "span": Span(),
}


def get(kind: Kind) -> TaskKind:
    """Return what a kind of task means."""
    return _KINDS[kind]
