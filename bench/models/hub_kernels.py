"""Keeps packages from loading programs of the hub while they are imported."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_hub_kernels() -> Iterator[None]:
    """Hide the package `kernels`, from which bitsandbytes would load programs of the hub.

    Whatever imports bitsandbytes first is imported inside of it; PEFT does so too.
    """
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")  # it warns of their absence
    level, before = logger.level, sys.modules.get("kernels")
    logger.setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before
