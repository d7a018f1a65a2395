"""Counter-based random masks and noise: a draw is a hash of its place, not a stream position.

The key of a draw is (run seed, site, step, example in the batch, token, feature). So a run's draws
do not depend on other runs of its stack, on padding, on the device, or on resuming, and no
generator state has to be saved. (Normal noise is equal on two devices up to rounding.)

Cost matters in masks: one 32-bit word gives the decisions of two features, after five integer
passes over half the elements. Rates are therefore resolved to 1/65,536, and the rescaling uses the
resolved rate, so that the expectation is kept exactly. Noise takes a word for each feature.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
_FEATURE_STRIDE = 0x9E3779B9
_LEVEL_STRIDE = 0x5BD1E995
_LEVELS = 1 << 16
_WORDS = 1 << 32


def drops(rate: float) -> bool:
    """Return whether a rate, resolved to 1/65,536, drops anything."""
    return round(rate * _LEVELS) > 0


def site_keys(run_seeds: Sequence[int], site: str, step: int) -> NDArray[np.uint32]:
    """Return one 32-bit key per run for a mask site at a step; shape (runs,)."""
    key = np.array([(seed ^ seed >> 32) & 0xFFFFFFFF for seed in run_seeds], dtype=np.uint32)
    step_word = _mix(np.array([step & 0xFFFFFFFF], dtype=np.uint32))
    return _mix(_mix(key ^ _site_word(site)) ^ step_word)


def keep_mask(
    keys: NDArray[np.uint32],
    drop_rates: Tensor,
    shape: Sequence[int],
    places: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw a Bernoulli keep-mask for every run.

    Args:
        keys: one key per run, from `site_keys`.
        drop_rates: (runs,) float, probability of dropping, in [0, 1).
        shape: shape of one run's mask, features last: (batch, tokens, features) for hidden states.
        places: (batch,), places on the first axis that are drawn; None for all, from 0.

    Returns:
        The mask, (runs, *shape) bool with True for keep, and the reciprocal of the keep
        probability, (runs, 1, ...) with as many axes, in the dtype of ``drop_rates``.
    """
    features = shape[-1]
    words = _words(keys, (*shape[:-1], (features + 1) // 2), drop_rates.device, places)
    levels = (drop_rates.double() * _LEVELS).round().clamp(max=_LEVELS - 1)  # a rate is below 1
    threshold = (levels - _LEVELS // 2).to(torch.int16).view(-1, *(1,) * len(shape))
    keep = words.view(torch.int16)[..., :features] >= threshold
    scale = (_LEVELS / (_LEVELS - levels)).to(drop_rates.dtype).view(-1, *(1,) * len(shape))
    return keep, scale


def uniform(
    keys: NDArray[np.uint32],
    shape: Sequence[int],
    like: Tensor,
    places: NDArray[np.int64] | None = None,
) -> Tensor:
    """Draw numbers between 0 and 1 for every run; see `keep_mask` for the arguments.

    Args:
        keys: one key per run, from `site_keys`.
        shape: shape of one run's numbers, features last.
        like: tensor with the device and dtype to use.
        places: places on the first axis that are drawn.

    Returns:
        (runs, *shape), above 0 and at most 1.
    """
    words = _words(keys, shape, like.device, places)
    return words.to(like.dtype).div_(_WORDS).add_(0.5).add_(0.5 / _WORDS)


def normal(keys: NDArray[np.uint32], shape: Sequence[int], like: Tensor) -> Tensor:
    """Draw numbers from the standard normal distribution for every run; see `uniform`.

    Two uniform numbers give those of two neighbouring features (Box & Muller 1958).
    """
    pairs = uniform(keys, (*shape[:-1], (shape[-1] + 1) // 2 * 2), like).unflatten(-1, (-1, 2))
    radius = pairs[..., 0].log().mul_(-2).sqrt_()
    angle = pairs[..., 1] * (2 * math.pi)
    drawn = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return drawn.flatten(-2)[..., : shape[-1]]


def _words(
    keys: NDArray[np.uint32],
    shape: Sequence[int],
    device: torch.device,
    places: NDArray[np.int64] | None = None,
) -> Tensor:
    """Hash the run key and the position of every entry into a word; (runs, *shape) int32."""
    rows = _rows(keys, shape[:-1], places)
    words = _signed(rows, device).unsqueeze(-1) ^ _signed(_feature_words(shape[-1]), device)
    words.mul_(_wrapped(_MULTIPLIERS[0]))
    # The shift is arithmetic; it costs one of 32 bits, and saves a pass over the tensor.
    words.bitwise_xor_(words >> 16)
    return words.mul_(_wrapped(_MULTIPLIERS[1]))


def _rows(
    keys: NDArray[np.uint32], levels: Sequence[int], places: NDArray[np.int64] | None
) -> NDArray[np.uint32]:
    """Hash the run key and the position on every level into one word; shape (runs, *levels)."""
    rows = keys
    for depth, count in enumerate(levels):
        words = _level_words(depth, count)
        if depth == 0 and places is not None:
            words = _level_words(depth, int(places.max()) + 1)[places]
        rows = _mix(rows[..., None] ^ words)
    return rows


# Parts that depend only on names and shapes are cached: for small masks they took half the time.


@lru_cache(maxsize=4096)
def _site_word(site: str) -> NDArray[np.uint32]:
    return _mix(np.array([_fold(site.encode())], dtype=np.uint32))


@lru_cache(maxsize=1024)
def _level_words(depth: int, count: int) -> NDArray[np.uint32]:
    """Return one word for every position on a level."""
    offset = np.uint32(depth * _LEVEL_STRIDE & 0xFFFFFFFF)
    return _mix(np.arange(1, count + 1, dtype=np.uint32) + offset)


@lru_cache(maxsize=64)
def _feature_words(count: int) -> NDArray[np.uint32]:
    """Return the words of the last level."""
    counters = np.arange(1, count + 1, dtype=np.uint32)
    return _mix(counters * np.uint32(_FEATURE_STRIDE))


def _mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Scramble 32-bit words (a bijection: xor-shifts and odd multiplications)."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(_MULTIPLIERS[0])
    x = (x ^ (x >> np.uint32(15))) * np.uint32(_MULTIPLIERS[1])
    return x ^ (x >> np.uint32(16))


def _fold(text: bytes) -> int:
    """Hash a short text to one word (FNV-1a)."""
    state = 0x811C9DC5
    for value in text:
        state = ((state ^ value) * 0x01000193) & 0xFFFFFFFF
    return state


def _wrapped(word: int) -> int:
    """Return the signed 32-bit number with the bits of ``word``."""
    return word - (1 << 32) if word >= 1 << 31 else word


def _signed(words: NDArray[np.uint32], device: torch.device) -> Tensor:
    return torch.from_numpy(words.view(np.int32)).to(device)
