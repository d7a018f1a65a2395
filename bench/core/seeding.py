"""Named seeds: every random draw has a key that names all it may depend on.

A seed is a hash of named parts, so the data order of seed 3 is the same for all methods, and a
run's masks do not depend on its neighbours in a stack. Nothing here touches a global generator.
"""

import hashlib
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def seed_of(*parts: Hashable) -> int:
    """Return the 63-bit seed named by ``parts``; equal in every process and on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def permutation(n: int, seed: int) -> NDArray[np.int64]:
    """Return a permutation of ``range(n)`` keyed by ``seed``.

    It sorts hashed counters (the SplitMix64 finaliser) instead of asking a library generator, whose
    stream may change between versions.
    """
    with np.errstate(over="ignore"):
        keys = np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN + np.uint64(seed)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = keys ^ (keys >> np.uint64(31))
    return np.argsort(keys, kind="stable").astype(np.int64)
