"""The figure of a race: how many blocks each arm did, and why it left."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.theme import INK, colour, style


def race(rows: Sequence[Mapping[str, Any]], metric: str, winner: str) -> FigureArtifact:
    """Draw a bar for each arm, as long as the blocks that it did.

    Args:
        rows: arms with "arm", "method", "blocks", "score", "left_at" and "why".
        metric: metric of the scores.
        winner: the advised arm.
    """
    data = pd.DataFrame(rows)[["arm", "method", "blocks", "score", "left_at", "why"]]
    data = data.sort_values("blocks", ascending=False, kind="stable", ignore_index=True)
    with style():
        figure = Figure(figsize=(6.5, 0.6 + 0.24 * len(data)), layout="constrained")
        axis = figure.subplots()
        for place, row in enumerate(data.to_dict("records")):
            gone = pd.notna(row["left_at"])
            axis.barh(
                place, row["blocks"], 0.62, color=colour(row["method"]), alpha=0.5 if gone else 1
            )
            said = "advised" if row["arm"] == winner else "left" if gone else "ties"
            score = f", {metric} {row['score']:.3f}" if pd.notna(row["score"]) else ""
            axis.annotate(
                f"{said}{score}",
                (row["blocks"], place),
                (4, 0),  # points; blanks at the start of a text are lost in a page
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=7.5,
            )
        axis.set_yticks(range(len(data)), data["arm"])
        axis.set_ylim(len(data) - 0.5, -0.5)
        axis.set_xlim(0, 1.4 * max(1, data["blocks"].max()))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("blocks")
        axis.grid(visible=False, axis="y")
    return FigureArtifact(
        "race",
        f"Blocks that each arm took part in, and its mean {metric} on their folds. Arms "
        "whose bars are pale left, as they were beaten or broke a constraint; the table says why.",
        figure,
        data,
    )
