"""What the suites over all methods share."""

from collections.abc import Sequence
from typing import Any

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import Run
from tests.support.small_stack import make_runs

NAMES = [name if name != "peft" else "peft:LORA" for name in registry.discover()]

# Settings that only make these tests long where they are large.
QUICK: dict[str, dict[str, Any]] = {"tfb": {"samples": 3, "rounds": 2}}


def quick_runs(
    name: str, seeds: Sequence[int] = (0,), configs: Sequence[dict[str, Any]] = ({},), **given: Any
) -> list[Run]:
    """Return runs as `make_runs` does, quick ones where a method has settings for that."""
    quick = [QUICK.get(name, {}) | config for config in configs]
    return make_runs(name, seeds, configs=quick, **given)
