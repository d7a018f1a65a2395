"""How wide text is, and names shortened to the room that there is for them.

Text is measured in DejaVu Sans, which is wider than what most pages show it in.
"""

from collections.abc import Sequence
from functools import lru_cache

from matplotlib.font_manager import findfont, get_font

from gapbench.reports.tables.leaderboard import PAPER
from gapbench.reports.tables.terminal import told_apart

_SHORTEST = 4


@lru_cache(maxsize=4096)
def width(text: str, size: float) -> float:
    """Return the width of a line of text in inches.

    Args:
        text: one line.
        size: of the font in points.
    """
    font = get_font(findfont("DejaVu Sans"))
    font.set_size(size, 72)
    font.set_text(text)
    return float(font.get_width_height()[0]) / 64 / 72


def within(name: str, room: float, size: float) -> str:
    """Return a name, shortened where it is wider than the room for it.

    Args:
        name: a method and its variant; a mark of the paper protocol is kept.
        room: in inches.
        size: of the font in points.
    """
    length = len(name)
    while length > _SHORTEST and width(_cut(name, length), size) > room:
        length -= 1
    return _cut(name, length)


def _cut(name: str, length: int) -> str:
    """Cut a name at its end, where readers look for what is missing."""
    if len(name) <= length:
        return name
    mark = PAPER if name.endswith(PAPER) else ""
    return f"{name[: max(length - len(mark) - 1, 1)].rstrip(' ,/')}\N{HORIZONTAL ELLIPSIS}{mark}"


def all_within(names: Sequence[str], room: float, size: float) -> list[str]:
    """Return names as `within` does, none cut to the text of another one."""
    return told_apart(names, lambda name: within(name, room, size))
