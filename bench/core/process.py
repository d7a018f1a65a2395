"""How a process that trains uses its share of the machine: device, threads, freed memory."""

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from gapbench.bench.core.errors import ConfigError

SPAWN = multiprocessing.get_context("spawn")
"""How processes are started: a fork would share the threads and the GPU of this one."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's names of its settings
_LARGEST_KEPT = 32 * 2**20  # bytes; glibc takes no more
_MOST_KEPT = 2**30


def choose_device(name: str) -> torch.device:
    """Return the device called auto, cpu or cuda.

    Raises:
        ConfigError: if cuda is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device is available; use --device cpu or auto")
    return torch.device(name)


def take_gpu(device: torch.device, slot: int) -> None:
    """Let one of several processes work on a GPU of its own, as far as there are enough."""
    if device.type == "cuda":
        torch.cuda.set_device(slot % torch.cuda.device_count())


def prepare(threads: int | None = None) -> None:
    """Set the number of threads, if given, keep freed memory, and let the libraries be.

    What is loaded by now stays: the garbage collector need not look through it again, which took it
    a fifth of a second each time. The modelling code of the model library is a good part of that;
    it is loaded here, and not by processes that only plan, list or hand out work.

    A step frees and asks for the same tensors over and over. The C library gives those above some
    hundred kilobytes back to the system each time, which then clears their pages anew: 6 to 12 % of
    a step of LoRA Dropout on the built-in encoder. Where the library is not glibc, nothing changes.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    _let_libraries_be()
    setting = _of_glibc("mallopt")
    setting(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    setting(_M_TRIM_THRESHOLD, _MOST_KEPT)


@cache
def _let_libraries_be() -> None:
    """Keep what is loaded from the garbage collector; once, or what a stack leaves would stay."""
    import_module("transformers.modeling_utils")
    gc.freeze()


def give_back() -> None:
    """Return freed memory that is kept to the system; where that is not glibc, nothing is kept."""
    _of_glibc("malloc_trim")(0)


def _of_glibc(name: str) -> Callable[..., int]:
    """Return a function of glibc, or one that does nothing where the library is another."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return lambda *_: 0
    return function


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that does some work beside this one, and ends with it however it dies.

    A killed parent cannot tell its children. They would train on, hold claims, and compete with
    whoever runs the suite again. What they were at has no record then, and is done again.
    """
    process = SPAWN.Process(target=_work_beside, args=(work, *arguments))
    # A terminal interrupts the whole group. What is ignored is inherited, from the first line.
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, heeded)
    return process


def kill(processes: Iterable[BaseProcess]) -> None:
    """End processes at once."""
    for process in processes:
        process.kill()
        process.join()


def _work_beside(work: Callable[..., None], *arguments: Any) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - `start` is what calls this, in another process

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    work(*arguments)
