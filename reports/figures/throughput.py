"""Figures of throughput on one machine; runs of different machines share no axis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.block import Block, identity
from gapbench.reports.figures.layout import MarkerStyle, Named, listed, mark
from gapbench.reports.figures.subset import chosen, left_out
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.tables.leaderboard import rows
from gapbench.reports.tables.terminal import label, short
from gapbench.reports.tables.words import times

_MOST = 40
_MEASURES = {
    "tokens_per_second": "tokens per second",
    "milliseconds_per_step": "ms per step",
    "peak_memory_mib": "peak memory, MiB",
}

_RATIOS = ("tokens/s", "step time", "peak memory")


def throughput(block: Block, machine: str, number: int) -> FigureArtifact | None:
    """Draw tokens per second, step time and peak memory of a block's rows on one machine.

    Args:
        block: rows that may be compared.
        machine: as `summarise` calls it; rows of others are passed over.
        number: of the machine, for the figure's name.

    Returns:
        The figure, None if nothing was measured there.
    """
    measured = _measured(block, machine)
    if measured.empty:
        return None
    reference = block.verdict.reference
    drawn = chosen(measured, "tokens_per_second", _MOST, reference)
    title = (
        f"Speed and memory on {machine}, {block.place}: training tokens per second (more is "
        "better), time per optimiser step and peak memory (less is better), means over seeds. Time "
        "is a run's share of what its stack took."
        + left_out(len(drawn), len(measured), "throughput", reference)
    )
    names = [Named(name, block.looks[name]) for name in _labels(drawn)]
    with style():
        figure, axes = listed(names, list(_MEASURES.values()))
        for axis, column in zip(axes, _MEASURES, strict=True):
            _draw_bars(axis, drawn[column].tolist(), [each.look.colour for each in names])
    return FigureArtifact(
        f"throughput-{number}-{block.stem}", title, figure, drawn, _fastest(drawn)
    )


def relative(blocks: Sequence[Block], machine: str, number: int) -> FigureArtifact | None:
    """Draw each method's measures relative to the reference's on the same task and machine.

    Arguments are those of `throughput`, for all blocks of the report; those without the reference
    on the machine are passed over.

    Returns:
        The figure, None if fewer than two blocks have anything to compare.
    """
    frames = [_ratios(_measured(block, machine), block.verdict.reference) for block in blocks]
    reference = blocks[0].verdict.reference
    data = pd.concat([frame for frame in frames if len(frame)] or [pd.DataFrame()])
    if data.empty or data.groupby(["suite", "task", "backbone", "start"]).ngroups < 2:
        return None
    looks = {name: look for block in reversed(blocks) for name, look in block.looks.items()}
    data = data.assign(name=_labels(data))
    speed = data.groupby("name")["tokens_per_second"].median().sort_values(ascending=False)
    names = list(speed.index[:_MOST])
    title = (
        f"Speed and memory on {machine} relative to {reference} on the same task and backbone: a "
        "small dot is one task, a large one the median over tasks. Right of 1 is more; more tokens "
        f"per second are better, more time and memory are worse. {reference} itself is the line."
    )
    with style():
        figure, axes = listed(
            [Named(name, looks[name]) for name in names],
            [f"{what}, relative to {reference}" for what in _RATIOS],
        )
        for axis, column in zip(axes, _MEASURES, strict=True):
            for place, name in enumerate(names):
                ratios = data.loc[data["name"] == name, column].dropna()
                _draw_ratios(axis, place, ratios.tolist(), looks[name])
            _by_doubling(axis)
    finding = (
        f"Relative to {reference}, the most tokens per second at the median are those of "
        f"{names[0]} ({times(speed.iloc[0])}), the fewest those of {names[-1]} "
        f"({times(speed[names[-1]])})."
    )
    return FigureArtifact(f"relative-throughput-{number}", title, figure, data, finding)


def _fastest(drawn: pd.DataFrame) -> str:
    known = drawn.dropna(subset=["tokens_per_second"]).sort_values("tokens_per_second")
    if known.empty:
        return "Tokens per second were not measured."
    slow, fast = (
        f"{name} ({short(speed)})"
        for name, speed in zip(
            _labels(known.iloc[[0, -1]]), known["tokens_per_second"].iloc[[0, -1]], strict=True
        )
    )
    return f"Most training tokens per second: {fast}; fewest: {slow}."


def machines(blocks: Sequence[Block]) -> list[str]:
    """Return the machines of a report's rows, those with a GPU first."""
    kinds: dict[str, str] = {}
    for block in blocks:
        types = block.results.runs.drop_duplicates("run_hash").set_index("run_hash")["device_type"]
        for row in block.rows:
            if row.machine and row.machine not in kinds:
                kinds[row.machine] = str(types[next(iter(row.ok_runs.values()))])
    return sorted(kinds, key=lambda machine: (kinds[machine] == "cpu", machine))


def _measured(block: Block, machine: str) -> pd.DataFrame:
    """Return the measures of a block's rows on one machine, in their units, in report order."""
    steps = block.runs["steps"].astype("float64")
    found = []
    for row in block.rows:
        made = steps.reindex(list(row.ok_runs.values())).mean()
        values = {
            "tokens_per_second": _float(row.tokens_per_second),
            "milliseconds_per_step": 1000 * _float(row.train_seconds) / made if made else np.nan,
            "peak_memory_mib": _float(row.peak_memory_bytes) / 2**20,
        }
        if row.machine == machine and np.isfinite(list(values.values())).any():
            found.append(identity(row) | {"machine": machine} | values)
    return pd.DataFrame(found)


def _float(value: Any) -> float:
    return np.nan if pd.isna(value) else float(value)


def _ratios(measured: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return measures over those of the reference; nothing where it is not there."""
    if measured.empty:
        return measured
    plain = np.array([name == reference for name in _labels(measured)])
    if not plain.any():
        return measured.iloc[:0]
    columns = list(_MEASURES)
    ratios = measured[columns] / measured.loc[plain, columns].iloc[0]
    return measured.assign(**{name: ratios[name] for name in columns})[~plain]


def _labels(frame: pd.DataFrame) -> list[str]:
    return [label(row.method, row.variant) for row in rows(frame)]


def _draw_bars(axis: Axes, values: Sequence[float], colours: Sequence[str]) -> None:
    known = [value if np.isfinite(value) else 0.0 for value in values]
    axis.barh(range(len(known)), known, color=list(colours), height=0.66)
    for place, value in enumerate(values):
        text = short(value) if np.isfinite(value) else "not measured"
        axis.annotate(
            text,
            (known[place], place),
            (3, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=7,
        )
    axis.set_xlim(0, max(known) * 1.22 or 1)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _draw_ratios(axis: Axes, place: int, ratios: Sequence[float], look: MarkerStyle) -> None:
    axis.plot(
        ratios, [place] * len(ratios), "o", color=look.colour, markersize=2.5, alpha=0.5, mew=0
    )
    if ratios:
        mark(axis, float(np.median(ratios)), place, look, markersize=5.5)


def _by_doubling(axis: Axes) -> None:
    """Scale an axis of ratios, so that a half is as far from 1 as the double."""
    axis.axvline(1, color=INK, linewidth=0.8, zorder=1)
    axis.set_xscale("log", base=2)
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.8), max(high, 1.25))
    doubles = axis.get_xlim()[1] > 3 * axis.get_xlim()[0]
    axis.xaxis.set_major_locator(LogLocator(base=2, numticks=6) if doubles else MaxNLocator(4))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
