"""A document as one self-contained HTML page: no network, no script beyond sorting tables.

`templates/report.html` lays out what it is given and has no content of its own. It escapes all
text; the only markup passed to it are figures, in which matplotlib has escaped all text.
"""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.document import Document, Picture
from reports.figures import canvas


def write(document: Document, path: Path) -> None:
    """Write a document as a page.

    Raises:
        OSError: if the file cannot be written.
    """
    path.write_text(page(document), encoding="utf-8")


def page(document: Document) -> str:
    """Return a document as the text of a page."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        document=document,
        kind=lambda part: type(part).__name__,
        svg=_svg,
        colour=canvas.variable,
        light=Markup(canvas.css("light")),  # noqa: S704 - constants of the program
        dark=Markup(canvas.css("dark")),  # noqa: S704 - constants of the program
    )


def _svg(picture: Picture) -> Markup:
    return Markup(canvas.svg(picture.figure, picture.title))  # noqa: S704 - `svg` escapes all text
