"""The kinds of task, one file each: rows, sequences and scores. See `bench.kinds.base`."""

from bench.kinds.base import Outputs, TaskKind, finite, of_run
from bench.kinds.choice import Choice
from bench.kinds.generation import Generation
from bench.kinds.labels import Labels
from bench.kinds.span import Span
from bench.tasks import Kind

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
