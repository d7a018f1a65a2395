"""Requests to end: SIGTERM, which schedulers send before they take a machine away, and a deadline.

Training saves a checkpoint and ends between two steps (`bench.training.checkpoint`). Signals belong
to the whole process, and so does the note that one has arrived.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec

Told = ParamSpec("Told")

_heard: set[int] = set()  # no event: a second signal would wait for the lock of the first one's
_deadlines: list[float] = []  # of the blocks of `until` that are open, by the monotonic clock


class Stopped(KeyboardInterrupt):
    """The process was asked to end, and its work has ended."""


def asked() -> bool:
    """Whether this process has received a signal to end, or is past its deadline."""
    return bool(_heard) or past_deadline()


def past_deadline() -> bool:
    """Whether the time of a surrounding block of `until` is over."""
    return bool(_deadlines) and time.monotonic() >= min(_deadlines)


def check_deadline() -> None:
    """Raise `Stopped` where `past_deadline` says yes; a signal waits for the end of the work."""
    if past_deadline():
        raise Stopped(reason())


def has_deadline() -> bool:
    """Whether a block of `until` with a limit is open."""
    return bool(_deadlines)


def check() -> None:
    """Raise `Stopped` where `asked` says yes."""
    if asked():
        raise Stopped(reason())


def reason() -> str:
    """Return why `asked` says yes."""
    return "the process was asked to end" if _heard else "the time budget is over"


@contextmanager
def until(seconds: float | None) -> Iterator[None]:
    """Let `asked` say yes once so many seconds have passed in the block; None sets no limit."""
    if seconds is None:
        yield
        return
    deadline = time.monotonic() + seconds
    _deadlines.append(deadline)
    try:
        yield
    finally:
        _deadlines.remove(deadline)


@contextmanager
def _handling(hear: Callable[[int, object], None], *numbers: signal.Signals) -> Iterator[None]:
    """Let ``hear`` handle signals inside the block; restore the earlier handlers after it."""
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
def noting(*numbers: signal.Signals) -> Iterator[set[int]]:
    """Note signals for `asked` inside the block; restore the earlier handlers after it.

    Yields:
        The signals received so far.

    Raises:
        Stopped: at the end of the block, if a signal has arrived in it.
    """
    heard: set[int] = set()

    def hear(number: int, _frame: object) -> None:
        heard.add(number)
        _heard.add(number)

    try:
        with _handling(hear, *numbers):
            yield heard
            if heard:
                raise Stopped("the process was asked to end")
    finally:
        _heard.difference_update(heard)


@contextmanager
def interruptible(
    progress: Callable[Told, None], *, once: bool = False
) -> Iterator[Callable[Told, None]]:
    """Make sure that Ctrl-C stops the work inside, and that a request to terminate does the same.

    Python drops the exception of an interrupt, with a traceback on stderr, if it strikes inside a
    destructor, and so do libraries whose compiled code calls Python (pydantic). The interrupt is
    therefore noted and raised again at the next check.

    Args:
        progress: what the work reports to.
        once: whether only the first signal strikes, where one interrupt sends several.

    Yields:
        The same for the work to call now and then, which raises where an interrupt was dropped.
    """
    struck = False

    def strike(_number: int, _frame: object) -> None:
        nonlocal struck
        again, struck = struck, True
        if not (once and again):
            raise KeyboardInterrupt

    def checked(*told: Told.args, **named: Told.kwargs) -> None:
        if struck:
            raise KeyboardInterrupt
        progress(*told, **named)

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if not isinstance(what.exc_value, KeyboardInterrupt):
            hook(what)

    with _handling(strike, signal.SIGINT, signal.SIGTERM):
        hook, sys.unraisablehook = sys.unraisablehook, dropped
        try:
            yield checked
        finally:
            sys.unraisablehook = hook
