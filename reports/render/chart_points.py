"""The points of a figure as data of the page, so that a reader may choose its axes."""

import json
from typing import Any

import pandas as pd

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures import theme

_INTERVALS = {"score": "score", "generalization_gap": "gap"}
"""Columns of intervals by the measure that they are of."""


def points(artifact: FigureArtifact) -> str:
    """Return what a reader may draw anew with other axes, as JSON."""
    data = artifact.data
    axes = {name: each for name, each in artifact.axes.items() if data[name].notna().any()}
    found = [
        {
            "name": row["name"],
            "method": row["method"],
            "variant": row["variant"],
            "about": row["about"],
            "colour": theme.variable(theme.colour(row["method"])),
            "shape": theme.outline(theme.marker(row["method"])),
        }
        | {name: _short(row[name]) for name in axes}
        | {"ends": {axis: ends for axis in axes if (ends := _ends(row, axis))}}
        for _, row in data.iterrows()
    ]
    return json.dumps({"axes": axes, "points": found})


def _ends(row: "pd.Series[Any]", axis: str) -> list[float | None]:
    """Return the interval of a measure, [] where there is none."""
    name = _INTERVALS.get(axis)
    ends = [_short(row.get(f"{name}_ci_{side}")) for side in ("low", "high")] if name else []
    return [] if None in ends else ends


def _short(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else float(f"{value:.5g}")
