"""Lengths at which a model begins to compute otherwise, as its configuration names them.

Beyond them lie the windows of attention, other factors of rotary positions, and full attention in
place of blocks. A short text must not be computed otherwise because a long one stands beside it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_WINDOWS = (
    "sliding_window",
    "window_size",
    "attention_window",
    "attention_chunk_size",
    "keep_window_size",
)
_ORIGINAL = "original_max_position_embeddings"


def largest(config: Any, most: int) -> int:
    """Return the largest limit of a configuration below ``most`` tokens, 0 if there is none."""
    return max((limit for limit in _limits(config) if limit < most), default=0)


def in_blocks(config: Any) -> bool:
    """Return whether long texts get attention by blocks, and short ones the full one."""
    return getattr(config, "attention_type", None) == "block_sparse"


def _limits(config: Any) -> Iterator[int]:
    for name in _WINDOWS:
        value = getattr(config, name, None)
        yield from (int(each) for each in (value if isinstance(value, list) else [value]) if each)
    rotary = getattr(config, "rope_parameters", None) or {}
    kinds = [config.__dict__, rotary, *(v for v in rotary.values() if isinstance(v, Mapping))]
    yield from (int(found) for kind in kinds if (found := kind.get(_ORIGINAL)))
    if in_blocks(config):
        yield (5 + 2 * config.num_random_blocks) * config.block_size
