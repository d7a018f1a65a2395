"""Fill the tables of `docs/findings.md` from the records of the reference study.

python docs/findings.py
"""

from collections.abc import Iterator
from pathlib import Path

import gapbench
from gapbench.reports.tables.outcomes import OUTCOMES
from gapbench.reports.tables.words import interval, signed, times
from gapbench.reports.verdict.model import Contrast, Entry, Level, Verdict

PAGE = Path(__file__).parent / "findings.md"
MEASURED = Path(__file__).parents[1] / "results" / "reference" / "measured"
STUDIES = [MEASURED / name for name in ("small_data", "airline_tweets", "sick")]
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"
_HEADER = """\
| row | {metric} | {metric} minus LoRA's | gap minus | ECE minus | NLL minus | training |
| --- | --- | --- | --- | --- | --- | --- |
"""


def tables() -> Iterator[str]:
    """Yield for each task of each study a heading, and a row for each method."""
    for folder in STUDIES:
        for verdict in gapbench.load(folder).verdict().found:
            for task in verdict.tasks or (verdict,):
                yield f"### {task.task}\n\n" + _HEADER.format(metric=task.metric)
                yield "".join(_row(task, entry) for entry in task.entries) + "\n"


def filled(text: str) -> str:
    """Return the page with the tables between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{''.join(tables())}{END}{after}"


def _row(task: Verdict, entry: Entry) -> str:
    others = OUTCOMES if entry.name != task.reference else ()
    found = [_difference(task.contrast(entry.name, task.reference, each)) for each in others]
    differences = found or [""] * len(OUTCOMES)
    cells = [entry.name, _level(entry.levels.get("score")), *differences, times(entry.training)]
    return f"| {' | '.join(cells)} |\n"


def _level(level: Level | None) -> str:
    if level is None or level.mean is None:
        return ""
    return f"{level.mean:.3f} {interval(level.low, level.high)}".strip()


def _difference(found: Contrast) -> str:
    """Return a difference, in bold where it is a claim."""
    if found.difference is None:
        return ""
    mark = "**" if found.claim else ""
    return f"{mark}{signed(found.difference)}{mark} {interval(found.low, found.high)}".strip()


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
