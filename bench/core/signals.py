"""Being asked to end: by SIGTERM above all, which schedulers send before they take a machine.

Work in training heeds it between two steps, after saving itself (`bench.training.checkpoint`).
Signals are the process's, and so is the answer to whether one has come.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

Told = ParamSpec("Told")

_asked = threading.Event()


class Stopped(KeyboardInterrupt):
    """Work has ended because the process was asked to end."""


def asked() -> bool:
    """Whether this process was asked to end by a signal that it heeds."""
    return _asked.is_set()


@contextmanager
def _handling(hear: Callable[[int, object], None], *numbers: signal.Signals) -> Iterator[None]:
    """Let signals be handled by ``hear`` inside, and mean what they meant before afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, hear) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def heeding(*numbers: signal.Signals) -> Iterator[set[int]]:
    """Let signals be heard by `asked` inside, and mean what they meant before afterwards.

    Yields:
        The signals that have come.

    Raises:
        Stopped: at the end, if what is inside has come to its end although it was asked to stop.
    """
    heard: set[int] = set()

    def hear(number: int, _frame: object) -> None:
        heard.add(number)
        _asked.set()

    try:
        with _handling(hear, *numbers):
            yield heard
            if heard:
                raise Stopped("the process was asked to end")
    finally:
        if heard:
            _asked.clear()


@contextmanager
def interruptible(progress: Callable[Told, None]) -> Iterator[Callable[Told, None]]:
    """Make sure that Ctrl-C stops the work inside, and that a request to terminate does the same.

    It is an exception that Python drops, with a traceback on stderr, where it strikes inside a
    destructor. So it is remembered, and raised once more at the next check.

    Args:
        progress: what the work reports to.

    Yields:
        The same for the work to call now and then, which raises where an interrupt was dropped.
    """
    struck = threading.Event()

    def strike(_number: int, _frame: object) -> None:
        struck.set()
        raise KeyboardInterrupt

    def heedful(*told: Told.args, **named: Told.kwargs) -> None:
        if struck.is_set():
            raise KeyboardInterrupt
        progress(*told, **named)

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if not isinstance(what.exc_value, KeyboardInterrupt):
            hook(what)

    with _handling(strike, signal.SIGINT, signal.SIGTERM):
        hook, sys.unraisablehook = sys.unraisablehook, dropped
        try:
            yield heedful
        finally:
            sys.unraisablehook = hook
