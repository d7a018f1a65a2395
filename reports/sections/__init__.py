"""What the report says, a file for each section, found by its being here.

Each file has `ORDER`, by which sections are sorted (first the answer, then the evidence, then what
it cannot tell), and one function, `section`, from the evidence to the section; None where there is
nothing to say. None knows in which format it will be written.
Files whose names begin with "_" hold parts of sections.
"""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Section


def sections(evidence: Evidence) -> Iterator[Section]:
    """Yield all sections that have something to say, in their order."""
    found = [
        import_module(f"{__name__}.{each.name}")
        for each in pkgutil.iter_modules(__path__)
        if not each.name.startswith("_")
    ]
    for module in sorted(found, key=lambda module: (module.ORDER, module.__name__)):
        section: Section | None = module.section(evidence)
        if section is not None:
            yield section
