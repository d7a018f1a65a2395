"""Processes that train: device, threads, freed memory, starting and ending."""

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
"""How processes are started. A fork would share the threads and the GPU of this one."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # numbers of glibc's settings
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
    """Give each of several processes its own GPU, as far as there are enough."""
    if device.type == "cuda":
        torch.cuda.set_device(slot % torch.cuda.device_count())


def prepare(threads: int | None = None) -> None:
    """Set the number of threads if given, keep freed memory, and exempt libraries from collection.

    Loaded modules stay, so the garbage collector need not scan them again, which took a fifth of a
    second each time. A large part of them is the modelling code of the model library. It is loaded
    here, and not in processes that only plan, list or distribute work.

    A step frees and allocates the same tensors over and over. By default, the C library returns
    tensors above some hundred kilobytes to the system each time, and the system then clears their
    pages: 6 to 12 % of a step of LoRA Dropout on the built-in encoder. This changes nothing where
    the library is not glibc.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    _exempt_loaded_modules()
    setting = _of_glibc("mallopt")
    setting(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    setting(_M_TRIM_THRESHOLD, _MOST_KEPT)


@cache
def _exempt_loaded_modules() -> None:
    """Exempt loaded modules from garbage collection; once, or garbage of a stack would stay."""
    import_module("transformers.modeling_utils")
    gc.freeze()


def give_back() -> None:
    """Return freed memory to the system; without glibc none is kept."""
    _of_glibc("malloc_trim")(0)


def _of_glibc(name: str) -> Callable[..., int]:
    """Return a function of glibc, or one that does nothing where the library is another."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return lambda *_: 0
    return function


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that works beside this one and ends when this one dies in any way.

    A killed parent cannot tell its children. They would train on, hold claims, and compete with the
    next command. Their current work leaves no record and is done again.
    """
    process = SPAWN.Process(target=_work_beside, args=(work, *arguments))
    # A terminal interrupts the whole group. An ignored signal is inherited, from the first line.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, handler)
    return process


def kill(processes: Iterable[BaseProcess]) -> None:
    """End processes at once."""
    for process in processes:
        process.kill()
        process.join()


def _work_beside(work: Callable[..., None], *arguments: Any) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - `start` calls this, in another process

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    work(*arguments)
