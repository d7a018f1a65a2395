"""Axes by orders of magnitude, whose ticks bear plain numbers.

matplotlib would write powers as mathematics, which figures here do not set, so that it stood there
as raw markup.
"""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, NullLocator

from gapbench.reports.tables.words import decimal


def plain(value: float) -> str:
    """Return a number as it is written by hand, such as 0.001 or 1,000."""
    return f"{value:,.10g}" if value >= 1 else decimal(value)


def by_orders(
    axis: Axes,
    *,
    base: int = 10,
    ticks: Locator | None = None,
    written: Callable[[float], str] = plain,
) -> None:
    """Draw the horizontal axis by orders of magnitude.

    Args:
        axis: whose values are above zero.
        base: of the logarithm.
        ticks: where they stand; None for about six.
        written: what stands at a tick.
    """
    axis.set_xscale("log", base=base)
    subs = (1.0, 2.0, 5.0) if base == 10 else (1.0,)
    axis.xaxis.set_major_locator(ticks or LogLocator(base=base, subs=subs, numticks=6))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
    axis.xaxis.set_minor_locator(NullLocator())
