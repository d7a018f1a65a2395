"""Whether the operations of training steps are counted, which takes longer than small steps do."""

from contextlib import AbstractContextManager
from unittest import mock

from gapbench.bench.training.flops_and_time import FlopEstimate

_WANTS = FlopEstimate.wants


def without_counting() -> AbstractContextManager[object]:
    """Return a context in which no step is counted."""
    return mock.patch.object(FlopEstimate, "wants", return_value=False)


def counting() -> AbstractContextManager[object]:
    """Return a context in which steps are counted as elsewhere."""
    return mock.patch.object(FlopEstimate, "wants", _WANTS)


def counting_once() -> AbstractContextManager[object]:
    """Return a context in which one step of every training is counted."""
    return mock.patch.object(FlopEstimate, "wants", lambda flops, _step: not flops.counted)
