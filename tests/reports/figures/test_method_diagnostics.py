"""What methods declare of themselves is drawn whatever their runs hold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import seaborn as sns

from gapbench.bench.config.run import Run
from gapbench.bench.store.diagnostic import Diagnostic
from gapbench.bench.store.store import Store
from gapbench.reports.document.model import FigureArtifact
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.method_diagnostics import drawings
from gapbench.reports.render.report import document, gather
from tests.support.results_folder import make_cell, make_record, put

SHARES = Diagnostic(kind="kept", field="shares", figure="shares", title="Share", noun="share")
VALUES = Diagnostic(kind="profiles", field="values", figure="values", title="Value", noun="value")
BLOCKS = Diagnostic(
    kind="selection",
    field="chosen",
    figure="blocks",
    title="Blocks",
    noun="block",
    entries="blocks",
    sizes="moved",
)


def _stored(
    root: Path, notes: Sequence[dict[str, Any]], *declared: Diagnostic, ranks: Sequence[int] = (8,)
) -> Path:
    """Write runs that store notes, one a seed, of variants with these ranks."""
    store = Store(root)
    store.open_for_writing()
    for rank in ranks:
        cell = make_cell("third_party", config={"rank": rank})
        for seed, own in enumerate(notes):
            store.write_plan("q", [(Run(cell, seed), f"rank {rank}")])
            put(store, make_record(cell, seed, notes=own, diagnostics=declared))
    return root


def _drawn(root: Path) -> FigureArtifact:
    (board,) = boards(gather(root))
    ((_, found),) = drawings(board)
    return found


def test_profiles_of_unlike_length_are_averaged_place_by_place(tmp_path: Path) -> None:
    """Runs that keep other ranks have other numbers of values; each place says of how many."""
    notes = [{"values": {"a": [4.0, 2.0, 1.0]}}, {"values": {"a": [2.0]}}]
    data = _drawn(_stored(tmp_path, notes, VALUES)).data
    assert data["value"].tolist() == [3.0, 2.0, 1.0]
    assert data["seeds"].tolist() == [2, 1, 1]
    assert data["place"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("moved", [[0.5], [0.0, 0.0, 0.0]])
def test_sizes_that_fit_no_entries_are_not_drawn(tmp_path: Path, moved: list[float]) -> None:
    """Nor do sizes that are all zero end the report."""
    notes = [{"chosen": [1], "blocks": [0, 1, 2], "moved": moved}]
    data = _drawn(_stored(tmp_path, notes, BLOCKS)).data
    assert data["selected"].tolist() == [False, True, False]
    assert data["moved"].isna().all() == (len(moved) == 1)


def test_layers_of_encoder_and_decoder_have_cells_of_their_own(tmp_path: Path) -> None:
    """Where blocks of both have one number."""
    layers = [f"{side}.block.{block}.q" for side in ("encoder", "decoder") for block in (0, 1)]
    shares = {name: place / 4 for place, name in enumerate(layers)}
    found = _drawn(_stored(tmp_path, [{"shares": shares}], SHARES))
    assert found.data["mean"].tolist() == list(shares.values())
    assert set(found.data["kind"]) == {"encoder.block q", "decoder.block q"}
    (axis,) = found.figure.axes
    shades = sns.color_palette("crest", as_cmap=True)
    assert {each.get_facecolor() for each in axis.patches} == {*map(shades, shares.values())}


def test_rows_without_room_are_counted(tmp_path: Path) -> None:
    """Six variants report; four are drawn, and the title says so."""
    notes = [{"shares": {"layer.0.q": 0.5}}]
    found = _drawn(_stored(tmp_path, notes, SHARES, ranks=range(1, 7)))
    assert found.data["variant"].nunique() == 4
    assert found.title.endswith("The first 4 of 6 rows that report it are drawn.")


def test_figures_of_one_declared_name_have_files_of_their_own(tmp_path: Path) -> None:
    """Also beside a figure of the report that is called so."""
    other = SHARES.model_copy(update={"field": "others", "title": "Other"})
    levels = SHARES.model_copy(update={"field": "third", "title": "Third", "figure": "curves"})
    note = {key: {"layer.0.q": 0.5} for key in ("shares", "others", "third")}
    root = _stored(tmp_path, [note, note], SHARES, other, levels)
    figures = [
        part
        for section in document(gather(root)).sections
        for part in section.flat
        if isinstance(part, FigureArtifact)
    ]
    names = [each.name for each in figures]
    assert len(set(names)) == len(names)
    titles = {each.name: each.title.partition(",")[0] for each in figures}
    stem = "syn_sentiment-tiny_bert"
    assert titles[f"shares-{stem}"] == "Share"
    assert titles[f"shares-{stem}-2"] == "Other"
    assert titles[f"curves-{stem}"] != titles[f"curves-{stem}-2"] == "Third"
