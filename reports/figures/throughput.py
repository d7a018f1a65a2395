"""Figures of throughput on one machine; runs of different machines share no axis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import PRIMES, Board, identity, reference_in_words
from gapbench.reports.figures.layout import listed, mark
from gapbench.reports.figures.scales import by_orders
from gapbench.reports.figures.theme import INK, style
from gapbench.reports.tables.words import times

_MOST = 40
_CLEAR = 1.1
"""A method is called faster from this multiple on; less may be chance or load."""
_MEASURES = {
    "tokens_per_second": "tokens per second",
    "milliseconds_per_step": "time per step",
    "peak_memory_mib": "peak memory",
}


def throughput(boards: Sequence[Board], machine: str, number: int) -> FigureArtifact | None:
    """Draw speed and memory of each method in multiples of the reference's on the same task.

    Args:
        boards: of the report; those without the reference on the machine are passed over.
        machine: as `summarise` calls it; rows of others are passed over.
        number: of the machine, for the figure's name.

    Returns:
        The figure, None if there is nothing to compare.
    """
    frames = [_ratios(_measured(board, machine), board.verdict.reference) for board in boards]
    reference = reference_in_words(boards)
    data = pd.concat([frame for frame in frames if len(frame)] or [pd.DataFrame()])
    if data.empty:
        return None
    first = {name: board for board in reversed(boards) for name in board.row}
    speed = data.groupby("name")["tokens_per_second"].median().sort_values(ascending=False)
    names = list(speed.index[:_MOST])
    title = (
        f"Multiples of {reference} on the same task, {machine}: a small dot is one task, a large "
        "mark the median over tasks. More tokens per second are better; more time and memory are "
        "worse. Time is a run's share of what its stack took."
        f"{PRIMES if any(first[name].looks[name].primes for name in names) else ''}"
    )
    with style():
        named = [first[name].named(first[name].row[name]) for name in names]
        figure, axes = listed(named, [*_MEASURES.values()])
        for axis, column in zip(axes, _MEASURES, strict=True):
            for place, name in enumerate(names):
                ratios = data.loc[data["name"] == name, column].dropna()
                _draw_ratios(axis, place, ratios.tolist(), first[name], name)
            _by_doubling(axis)
    return FigureArtifact(f"throughput-{number}", title, figure, data, _finding(data, reference))


def _finding(data: pd.DataFrame, reference: str) -> str:
    """Say which method is fastest and which slowest, where that is so on every task, and clear.

    Args:
        data: a row for each method beside the reference and each task: "name", "task", and
            multiples of the reference's "tokens_per_second".
        reference: name of the reference.
    """
    known = data.dropna(subset="tokens_per_second")
    speeds = known.pivot_table(
        index="name", columns=["task", "backbone"], values="tokens_per_second"
    )
    if speeds.empty:
        return ""
    ratios = speeds.to_numpy()
    if np.nanmax(ratios) < _CLEAR and np.nanmin(ratios) > 1 / _CLEAR:
        return f"In tokens per second, all methods are within a tenth of {reference}."
    said = [
        f"{name}{f', the {word},' if len(speeds) > 1 else ''} trains at "
        f"{times(np.median(speeds.loc[name].to_numpy()))} {reference}'s tokens per second"
        for name, word in ((_leader(speeds), "fastest"), (_leader(1 / speeds), "slowest"))
        if name
    ]
    if said:
        return f"{'; '.join(said)}."
    changing = (np.nanmax(ratios, axis=1) > 1) & (np.nanmin(ratios, axis=1) < 1)
    return f"Which methods train faster than {reference} differs by task." if changing.any() else ""


def _leader(speeds: pd.DataFrame) -> str:
    """Return the method that leads on every task and clearly leaves the reference, "" if none."""
    names = set(speeds.idxmax())
    name = str(names.pop()) if len(names) == 1 else ""
    own = speeds.loc[name].to_numpy() if name else np.ones(1)
    return name if own.min() > 1 and np.median(own) >= _CLEAR else ""


def machines(boards: Sequence[Board]) -> list[str]:
    """Return the machines of a report's rows, those with a GPU first."""
    kinds: dict[str, str] = {}
    for board in boards:
        types = board.results.runs.drop_duplicates("run_hash").set_index("run_hash")["device_type"]
        for row in board.rows:
            if row.machine and row.machine not in kinds:
                kinds[row.machine] = str(types[next(iter(row.ok_runs.values()))])
    return sorted(kinds, key=lambda machine: (kinds[machine] == "cpu", machine))


def _measured(board: Board, machine: str) -> pd.DataFrame:
    """Return the measures of a board's rows on one machine, in their units, in report order."""
    steps = board.runs.groupby("config_hash")["steps"].median()
    found = []
    for row in (row for row in board.rows if row.machine == machine):
        made = _float(steps.get(row.config_hash))
        values = {
            "tokens_per_second": _float(row.tokens_per_second),
            "milliseconds_per_step": 1000 * _float(row.train_seconds) / made if made else np.nan,
            "peak_memory_mib": _float(row.peak_memory_bytes) / 2**20,
        }
        if np.isfinite(list(values.values())).any():
            found.append(identity(row) | {"name": row.name, "machine": machine} | values)
    return pd.DataFrame(found)


def _float(value: Any) -> float:
    return np.nan if pd.isna(value) else float(value)


def _ratios(measured: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return measures over those of the reference; nothing where it is not there."""
    if measured.empty:
        return measured
    plain = measured["name"] == reference
    if not plain.any():
        return measured.iloc[:0]
    columns = list(_MEASURES)
    ratios = measured[columns] / measured.loc[plain, columns].iloc[0]
    return measured.assign(**{name: ratios[name] for name in columns})[~plain]


def _draw_ratios(axis: Axes, place: int, ratios: Sequence[float], board: Board, name: str) -> None:
    """Draw the ratios of a row and their median; settings are those of the board."""
    if ratios:
        look, median = board.looks[name], float(np.median(ratios))
        said = board.tip(board.row[name], f"{times(median)} at the median task")
        small: dict[str, Any] = {"markersize": 2.5, "alpha": 0.5, "mew": 0}
        axis.plot(ratios, [place] * len(ratios), "o", color=look.colour, gid=said, **small)
        mark(axis, median, place, look, markersize=5.5, gid=said)


def _by_doubling(axis: Axes) -> None:
    """Scale an axis of ratios, so that a half is as far from 1 as the double."""
    axis.axvline(1, color=INK, linewidth=0.8, zorder=1)
    by_orders(axis, base=2)
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.8), max(high, 1.25))
    doubles = axis.get_xlim()[1] > 3 * axis.get_xlim()[0]
    if not doubles:
        axis.xaxis.set_major_locator(MaxNLocator(4))
