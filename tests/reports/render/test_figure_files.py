"""The files of a report's figures: what they hold, and which of an earlier report they replace."""

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gapbench.reports.document.model import Document, FigureArtifact, Section, Text
from gapbench.reports.figures import theme
from gapbench.reports.figures.board import boards
from gapbench.reports.figures.layout import below, key, marking, panels
from gapbench.reports.figures.theme import INK, colour, style
from gapbench.reports.figures.training import curves
from gapbench.reports.render import figure_files
from gapbench.reports.render.report import gather
from tests.support.results_folder import fill, make_task

PEARSON_BY_MSE = make_task(
    "syn_similarity", kind="regression", metrics=("pearson", "mse"), checkpoint_metric="mse"
)
SVG = "{http://www.w3.org/2000/svg}"
DATA = pd.DataFrame(
    {"method": ["lora", 'a "quoted", name'], "score": [1 / 3, 1e-300], "gap": [np.nan, 0.1 + 0.2]}
)


def make_picture(name: str = "scores", *, label: str = "lora") -> FigureArtifact:
    """Return a small figure of one line in a method's colour, 3 x 2 inches."""
    with style():
        figure = Figure(figsize=(3, 2))
        axis = figure.add_subplot()
        axis.plot([0, 1], [0, 1], color=colour("lora"))
        axis.set_xlabel(label, color=INK)
    return FigureArtifact(name, "Scores rise & fall.", figure, DATA)


def make_document(*parts: FigureArtifact) -> Document:
    """Return a document of one section."""
    return Document("report", "", (Section("cost", "Cost", (Text("text"), *parts)),))


def names(folder: Path) -> set[str]:
    """Return the names of the files in a folder."""
    return {path.name for path in folder.iterdir()}


def test_every_picture_has_three_files(tmp_path: Path) -> None:
    """Each picture is there as SVG, PNG and CSV, and the index says where it stands."""
    figure_files.write(
        make_document(make_picture("one"), make_picture("two-2")), tmp_path / "figures"
    )
    files = {f"{name}.{kind}" for name in ("one", "two-2") for kind in ("svg", "png", "csv")}
    assert names(tmp_path / "figures") == files | {"index.json"}
    index = json.loads((tmp_path / "figures" / "index.json").read_text(encoding="utf-8"))
    entry = {"section": "Cost", "finding": "", "title": "Scores rise & fall."}
    assert index == {"one": entry, "two-2": entry}


def test_svg_stands_alone_in_light_colours(tmp_path: Path) -> None:
    """The SVG is well-formed, has its text as text, and needs neither a page nor a network."""
    figure_files.write(make_document(make_picture(label="<script> & #*_$")), tmp_path)
    text = (tmp_path / "scores.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314 - written a line above
    assert root.tag == f"{SVG}svg"
    assert root.get("aria-label") == "Scores rise & fall."
    assert "<script> & #*_$" in {
        "".join(each.itertext()).strip() for each in root.iter(f"{SVG}text")
    }
    assert "var(" not in text
    assert "#0102" not in text, "a placeholder is left"
    links = [value for each in root.iter() for key, value in each.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)


def test_png_is_the_svg_at_two_pixels_a_point(tmp_path: Path) -> None:
    """The PNG is twice as many pixels as the SVG has points, and shows the method's colour."""
    figure_files.write(make_document(make_picture()), tmp_path)
    image = Image.open(tmp_path / "scores.png").convert("RGB")
    assert image.size == (3 * 72 * 2, 2 * 72 * 2)
    pixels = np.asarray(image).reshape(-1, 3)
    assert (pixels[0] == 255).all(), "the page is white"
    drawn = {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(pixels, axis=0)}
    assert theme.light(theme.variable(colour("lora"))) in drawn


def test_csv_holds_the_numbers(tmp_path: Path) -> None:
    """Reading the CSV gives twelve digits of the picture's numbers; what is missing is empty."""
    figure_files.write(make_document(make_picture()), tmp_path)
    read = pd.read_csv(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(read, DATA, rtol=1e-11, atol=0, check_dtype=False)


def test_files_of_an_earlier_report_go_and_others_stay(tmp_path: Path) -> None:
    """What this report lacks is deleted if an earlier one wrote it; a reader's own file is not."""
    figure_files.write(make_document(make_picture("old"), make_picture("kept")), tmp_path)
    (tmp_path / "mine.png").write_bytes(b"own")
    figure_files.write(make_document(make_picture("kept")), tmp_path)
    assert names(tmp_path) == {"kept.svg", "kept.png", "kept.csv", "mine.png", "index.json"}


def test_index_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    """An index that was tampered with or is no index deletes nothing."""
    folder = tmp_path / "figures"
    folder.mkdir()
    outside = tmp_path / "outside.csv"
    outside.write_text("kept", encoding="utf-8")
    for index in ('{"../outside": {}}', '["../outside"]', "no JSON", '{"a/../../outside": 1}'):
        (folder / "index.json").write_text(index, encoding="utf-8")
        figure_files.write(make_document(make_picture()), folder)
        assert outside.read_text(encoding="utf-8") == "kept"


def test_report_without_pictures_empties_the_folder(tmp_path: Path) -> None:
    """No picture, no files but an empty index."""
    figure_files.write(make_document(make_picture()), tmp_path)
    figure_files.write(make_document(), tmp_path)
    assert names(tmp_path) == {"index.json"}
    assert json.loads((tmp_path / "index.json").read_text(encoding="utf-8")) == {}


def test_equal_pictures_give_equal_files(tmp_path: Path) -> None:
    """Drawn twice, a picture has the same bytes in every file."""
    for name in ("first", "second"):
        figure_files.write(make_document(make_picture()), tmp_path / name)
    for file in names(tmp_path / "first"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_characters_that_no_font_or_file_can_hold_do_not_stop_it(tmp_path: Path) -> None:
    """Control characters, foreign scripts and emoji in a figure still give an SVG and a PNG."""
    figure_files.write(make_document(make_picture(label="a\x01b \x1f 中文 🙂")), tmp_path)
    text = (tmp_path / "scores.svg").read_text(encoding="utf-8")
    assert "中文 🙂" in "".join(ET.fromstring(text).itertext())  # noqa: S314 - written here
    assert Image.open(io.BytesIO((tmp_path / "scores.png").read_bytes())).size[0] == 432


def test_curves_have_the_direction_of_the_metric_that_they_show(tmp_path: Path) -> None:
    """Checkpoints may be chosen by another metric than the main one, of another direction."""
    fill(tmp_path, methods=("lora",), seeds=2, tasks=(PEARSON_BY_MSE,))
    (block,) = boards(gather(tmp_path))
    assert block.better == "higher is better"
    picture = curves(block)
    assert picture is not None
    assert ": mean squared error above (lower is better), loss below." in picture.title


def test_panels_leave_room_for_wide_numbers_and_their_label() -> None:
    """Nothing is cut off at any side; wide numbers take their room from the panels."""
    lefts = []
    for low, high in ((0.5, 1), (-0.00125, -0.00115)):
        with style():
            figure, axes = panels(2, 1.75, across=2)
            axes[0].set_ylim(low, high)
            axes[0].set_ylabel("test matthews_correlation")
            key(figure, [marking("front", "o")])
            below(figure, "optimiser step")
            figure.draw_without_rendering()
            drawn = figure.get_tightbbox()
            assert drawn.x0 >= 0
            assert drawn.y0 >= 0
            assert drawn.x1 <= figure.get_figwidth()
            assert drawn.y1 <= figure.get_figheight()
            assert axes[0].get_position().width == pytest.approx(axes[1].get_position().width)
            lefts.append(axes[0].get_position().x0)
    assert lefts[0] < lefts[1]
