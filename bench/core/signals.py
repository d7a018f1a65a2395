"""Being asked to end: by SIGTERM above all, which schedulers send before they take a machine.

Work in training heeds it between two steps, after saving itself (`bench.training.checkpoint`).
Signals are the process's, and so is the answer to whether one has come.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked = threading.Event()


class Stopped(KeyboardInterrupt):
    """Work has ended because the process was asked to end."""


def asked() -> bool:
    """Whether this process was asked to end by a signal that it heeds."""
    return _asked.is_set()


@contextmanager
def heeding(*numbers: signal.Signals) -> Iterator[set[int]]:
    """Let signals be heard by `asked` inside, and mean what they meant before afterwards.

    Yields:
        The signals that have come.

    Raises:
        Stopped: at the end, if what is inside has come to its end although it was asked to stop.
    """
    heard: set[int] = set()
    if threading.current_thread() is not threading.main_thread():
        yield heard  # only the main thread may handle signals
        return

    def hear(number: int, _frame: object) -> None:
        heard.add(number)
        _asked.set()

    before = {number: signal.signal(number, hear) for number in numbers}
    try:
        yield heard
        if heard:
            raise Stopped("the process was asked to end")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()
