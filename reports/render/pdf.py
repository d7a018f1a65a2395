"""The report as a PDF: the same document as the page, set by Typst.

`templates/report.typ` typesets a JSON file (`reports.render.pdf_content`), whose strings are never
markup. The PDF has no date, so equal documents give equal bytes.
"""

import json
import tempfile
from importlib.resources import files
from pathlib import Path

from matplotlib.font_manager import findfont, get_font

from gapbench.reports.document.model import Document, Table, Text
from gapbench.reports.render.files import put
from gapbench.reports.render.pdf_content import PdfContent, numbers, unfolded
from gapbench.reports.render.typst import Form, typeset

MOST_ROWS = 500
"""Rows of all tables together. Beyond, the longest tables are cut and say so: five hundred of the
widest rows take Typst two seconds and 0.4 GB, and fill fifteen pages that few leaf through.
"""

_NO_GLYPH = (
    "This file has no font for some characters of names in it and shows boxes in their place: {}. "
    "The page report.html shows them as the reader's own fonts do."
)
_MOST_ABSENT = 20


def write(document: Document, path: Path) -> None:
    """Write a document as PDF.

    Args:
        document: the report.
        path: the file to write, in a folder that exists.

    Raises:
        OSError: if the file cannot be written.
    """
    (file,) = pages(document, "pdf")
    put(path, file)


def pages(document: Document, form: Form) -> list[bytes]:
    """Return a document as one PDF, or as a PNG for each of its pages.

    Args:
        document: the report.
        form: "pdf" or "png".
    """
    template = (files("gapbench.reports") / "templates" / "report.typ").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = PdfContent(folder, most_rows(document), numbers(document), document.glossary)
        content = writer.document(document)
        text = json.dumps(content, ensure_ascii=False)
        if absent := without_glyph(text):
            notice = writer.parts((Text(_NO_GLYPH.format(" ".join(absent[:_MOST_ABSENT]))),))
            content["sections"][:1] = [
                {**first, "parts": [*notice, *first["parts"]]} for first in content["sections"][:1]
            ]
            text = json.dumps(content, ensure_ascii=False)
        (folder / "report.json").write_bytes(text.encode("utf-8", "replace"))
        return typeset(template, folder, form)


def without_glyph(text: str) -> list[str]:
    """Return the characters of a text that none of the PDF's fonts has, as code points."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    absent = {c for c in text if ord(c) > 0x7F and c.isprintable() and ord(c) not in known}
    return [f"U+{ord(c):04X}" for c in sorted(absent)]


def most_rows(document: Document) -> int:
    """Return how many rows a table may have so that all have at most `MOST_ROWS` together."""
    parts = [part for section in document.sections for part in unfolded(section.parts)]
    lengths = sorted(len(part.rows) for part in parts if isinstance(part, Table))
    left = MOST_ROWS
    for place, length in enumerate(lengths):
        share = left // (len(lengths) - place)
        if length > share:
            return share
        left -= length
    return MOST_ROWS
