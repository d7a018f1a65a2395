"""The figures of a report as files of their own: SVG, PNG and the numbers they show as CSV.

The SVG is light and its text is text. ``index.json`` beside the files lists them, and tells the
next report which files it may take away.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from gapbench.bench.core.safe_parsing import parse_json
from gapbench.reports.document.model import Document, FigureArtifact, Section
from gapbench.reports.figures import theme
from gapbench.reports.render.files import put, put_table
from gapbench.reports.render.typst import typeset

_INDEX = "index.json"
_KINDS = (".svg", ".png", ".csv")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# One page a figure, as large as the figure.
_SHEETS = """
#set page(width: auto, height: auto, margin: 0pt, fill: white)
#for name in json(bytes(sys.inputs.names)) { page(image(name + ".svg")) }
"""


def write(document: Document, folder: Path) -> None:
    """Write every figure of a document as ``<name>.svg``, ``<name>.png`` and ``<name>.csv``.

    Files of figures that an earlier report wrote there and this one lacks are deleted; those are
    known from its index, and no other file is touched.

    Args:
        document: the report.
        folder: created where needed.

    Raises:
        OSError: if a file cannot be written.
    """
    artifacts = {each.name: (section, each) for section, each in _artifacts(document)}
    folder.mkdir(parents=True, exist_ok=True)
    for name in _listed(folder) - artifacts.keys():
        for kind in _KINDS:
            (folder / f"{name}{kind}").unlink(missing_ok=True)
    # The index comes before the files: what is interrupted here, the next report still knows.
    index = {
        name: {"section": section.title, "finding": artifact.finding, "title": artifact.title}
        for name, (section, artifact) in artifacts.items()
    }
    text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
    put(folder / _INDEX, text)
    for name, (_, artifact) in artifacts.items():
        put(folder / f"{name}.svg", markup(artifact))
        put_table(folder / f"{name}.csv", artifact.data)
    if artifacts:
        sheets = typeset(_SHEETS, folder, "png", {"names": json.dumps(list(artifacts))})
        for name, sheet in zip(artifacts, sheets, strict=True):
            put(folder / f"{name}.png", sheet)


def markup(artifact: FigureArtifact) -> str:
    """Return a figure as an SVG file in light colours."""
    text = theme.light(theme.svg(artifact.figure, artifact.alternative))
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text) + "\n"


def _artifacts(document: Document) -> Iterator[tuple[Section, FigureArtifact]]:
    for section in document.sections:
        for part in section.flat:
            if isinstance(part, FigureArtifact):
                yield section, part


def _listed(folder: Path) -> set[str]:
    """Return the names that an earlier index lists, as far as they can be names of figures."""
    try:
        index = parse_json((folder / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    names = index if isinstance(index, dict) else {}
    return {name for name in names if _NAME.fullmatch(name)}
