"""Steps that never wait for a device: no number of a tensor is read on the host.

On a GPU each such reading waits for all queued work. That can be seen on a CPU: through tensor
methods that hand numbers to Python, and through operations whose output's size depends on numbers.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gapbench.bench.adaptation import registry
from gapbench.bench.experiment import suite
from gapbench.bench.models import attention
from gapbench.bench.profiling.step_timer import Stepper
from tests.support.small_stack import CPU, load_backbone, make_runs, random_data

_READING = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")
_STEPS = 3  # of each phase
_ATEN = torch.ops.aten
_SIZED_BY_NUMBERS = {
    _ATEN._local_scalar_dense.default,
    _ATEN.nonzero.default,
    _ATEN.masked_select.default,
    _ATEN.repeat_interleave.Tensor,
    _ATEN.equal.default,
}


def _trained(name: str) -> dict[str, bool]:
    """Return the methods of a shipped suite that have steps, and whether they stack."""
    found = {entry.method: registry.get(entry.method) for entry in suite.load(name)[0].methods}
    return {method: cls.stackable for method, cls in found.items() if cls.trains}


QUICKSTART = _trained("quickstart")
STACKS = {m: stacks for name in suite.builtin_names() for m, stacks in _trained(name).items()}
# Every family and precision for the methods of quickstart, one for all others.
CASES = [
    pytest.param(method, *where)
    for method in STACKS
    for where in product(("bert", "llama"), ("fp32", "bf16"))
    if method in QUICKSTART or where == ("bert", "fp32")
]


class _Sized(TorchDispatchMode):
    """Notes operations whose output has a size, or whose result is a number, that must be read."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note it if it waits."""
        by_mask = func is _ATEN.index.Tensor and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if func in _SIZED_BY_NUMBERS or by_mask:
            self._seen.append(f"{func} in {_place()}")
        return func(*args, **(kwargs or {}))


@contextmanager
def readings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield a list to which every reading inside the block is added."""
    seen: list[str] = []

    def noting(name: str) -> Callable[..., Any]:
        own = getattr(Tensor, name)

        def read(tensor: Tensor, *args: Any) -> Any:
            seen.append(f"{name} in {_place()}")
            return own(tensor, *args)

        return read

    with monkeypatch.context() as patched, _Sized(seen):
        for name in _READING:
            patched.setattr(Tensor, name, noting(name))
        yield seen


def _place() -> str:
    """Return the last lines of Python that led here, outside this file and torch."""
    frames = [f for f in traceback.extract_stack() if "/torch/" not in f.filename]
    own = [f for f in frames if f.filename != __file__]
    return " <- ".join(f"{Path(f.filename).name}:{f.lineno}" for f in own[:-4:-1])


@pytest.mark.parametrize(("method", "family", "precision"), CASES)
def test_a_step_reads_no_number_of_a_tensor(
    method: str,
    family: str,
    precision: str,
    make_backbone: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Collation, forward, backward and update of every shipped method only queue work.

    Every phase is gone through in a few steps, so that what comes at its middle or end comes too.
    """
    runs = make_runs(method, (0, 1) if STACKS[method] else (0,), precision=precision)
    step = Stepper(runs, load_backbone(make_backbone(family), runs), random_data(), CPU)
    monkeypatch.setattr(attention, "_AT_HAND", set())  # as if the device were another
    seen: list[str] = []
    for phase in step.method.phases(step.method.configs[0]):
        step.begin(phase, _STEPS)
        step()  # what is made once may read
        with readings(monkeypatch) as found:
            for _ in range(_STEPS - 1):
                step()
        seen += found
    assert seen == []


def test_a_reading_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to read a number is noted."""
    numbers = torch.tensor([1.0, 0.0])
    with readings(monkeypatch) as seen:
        numbers[0].item()
        bool(numbers.any())
        numbers.tolist()
        numbers[numbers > 0]
    assert [line.partition(" ")[0] for line in seen if "_local" not in line] == [
        "item",
        "__bool__",
        "tolist",
        "aten.index.Tensor",
    ]
