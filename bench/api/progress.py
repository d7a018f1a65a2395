"""How far work is, told on stderr: lines, progress bars and times in words."""

import sys
from typing import Any

from tqdm import tqdm


def say(line: str, *, progress: bool = True) -> None:
    """Print a line to stderr if progress is wanted."""
    if progress:
        print(line, file=sys.stderr)


def span(seconds: float) -> str:
    """Return a time in the two largest of its units."""
    parts: list[str] = []
    rest = max(1, round(seconds))
    for name, each in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, rest = divmod(rest, each)
        if amount or parts:
            parts.append(f"{amount} {name}")
    return " ".join(parts[:2])


def progress_bar(total: int, unit: str, *, progress: bool = True) -> Any:
    """Return a progress bar with an estimate of the time left."""
    shape = f"{{l_bar}}{{bar}}| {{n:.1f}}/{{total}}{unit}, {{elapsed}} gone, {{remaining}} left"
    pause = 0.5 if sys.stderr.isatty() else 30.0  # seconds between lines; a log needs few
    # smoothing=0: the estimate is the average so far, since single stacks differ much in length.
    return tqdm(
        total=total,
        bar_format=shape + "{postfix}",
        file=sys.stderr,
        mininterval=pause,
        smoothing=0,
        disable=not progress,
    )


def tracked(items: list[Any]) -> Any:
    """Iterate over metrics, and show how many are done if they take more than a second."""
    return tqdm(items, desc="metrics", file=sys.stderr, delay=1.0, leave=False)
