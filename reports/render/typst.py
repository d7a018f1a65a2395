"""The typesetting engine: Typst from its Python package, with its own fonts and matplotlib's.

No font of the system is used, so that a document looks alike, byte for byte, on every machine.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import typst

Form = Literal["pdf", "png"]


def typeset(
    source: str, folder: Path, form: Form, inputs: dict[str, str] | None = None
) -> list[bytes]:
    """Compile a document.

    Args:
        source: Typst markup, of the program and never of data.
        folder: where the files lie that it reads; it can read no others.
        form: "pdf" for one file, "png" for one a page, at 144 pixels per inch.
        inputs: strings that it finds in ``sys.inputs``.

    Returns:
        The files.
    """
    compiler = typst.Compiler(
        source.encode(), root=folder, font_paths=_fonts(), sys_inputs=inputs or {}
    )
    compiled = compiler.compile(format=form, ppi=144)
    return compiled if isinstance(compiled, list) else [compiled or b""]


@cache
def _fonts() -> typst.Fonts:
    """Return Typst's fonts and those in which figures are drawn and measured."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return typst.Fonts(include_system_fonts=False, font_paths=[str(folder)])
