"""Fill the section "Measured here" of every method's page from the stored reference results.

    python docs/measured.py

`results/reference/measured/<suite>/leaderboard.csv` is what `gapbench report` wrote for that suite.
A change that can move a score runs the suites again, replaces these tables, and runs this script.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "methods"
MEASURED = ROOT / "results" / "reference" / "measured"
HEADING = "## Measured here"
HEADER = """\
| task | backbone | metric | {name} | LoRA | gap, {name} | gap, LoRA | ECE, {name} | ECE, LoRA |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""
FOOTER = """
Means over {seeds} seeds, ± half of the 95 % interval over seeds. Suites {suites}, default settings:
the same budget, data and order for all methods, nothing tuned. Gap: train minus test score. Costs
are in `results/reference/measured/`.
"""
VARIANTS = "Behind a task stands the variant whose settings differ from the defaults.\n"


def load(folder: Path = MEASURED) -> pd.DataFrame:
    """Return the leaderboards of all suites, one below the other."""
    return pd.concat([pd.read_csv(path) for path in sorted(folder.glob("*/leaderboard.csv"))])


def filled(page: str, name: str, table: pd.DataFrame) -> str:
    """Return the text of a page with its last section written anew from ``table``."""
    before, _, _ = page.partition(HEADING)
    return f"{before}{HEADING}\n\n{section(name, table)}"


def section(name: str, table: pd.DataFrame) -> str:
    """Return what was measured of a method, beside LoRA on the same tasks."""
    own = table[(table["method"].str.partition(":")[0] == name) & table["score"].notna()]
    if own.empty:
        return "Not yet.\n"
    plain = table[(table["method"] == "lora") & (table["variant"] == "default")]
    lora = plain.set_index(["suite", "task", "backbone"])
    several = len(own["suite"].unique()) > 1
    lines = [
        _line(row, lora.loc[(row.suite, row.task, row.backbone)], several=several)
        for row in own.itertuples()
    ]
    seeds = _joined(str(int(n)) for n in own["n_seeds"].unique())
    suites = _joined(f"`{suite}`" for suite in own["suite"].unique())
    varied = "" if (own["variant"] == "default").all() else VARIANTS
    text = HEADER.format(name=name) + "".join(lines) + FOOTER.format(seeds=seeds, suites=suites)
    return text + varied


def _line(row: object, lora: pd.Series, *, several: bool) -> str:  # type: ignore[type-arg]
    own = pd.Series(row._asdict())  # type: ignore[attr-defined]
    variant = "" if own.variant == "default" else f", {own.variant}"
    suite = f" ({own.suite})" if several else ""
    cells = [f"{own.task}{suite}{variant}", own.backbone, own.metric]
    for field, low, high in (
        ("score", "score_ci_low", "score_ci_high"),
        ("generalization_gap", "gap_ci_low", "gap_ci_high"),
        ("ece", None, None),
    ):
        cells += [_number(side, field, low, high) for side in (own, lora)]
    return f"| {' | '.join(cells)} |\n"


def _number(row: pd.Series, field: str, low: str | None, high: str | None) -> str:  # type: ignore[type-arg]
    if pd.isna(row[field]):
        return "-"
    text = f"{row[field]:.3f}"
    if low is None or pd.isna(row[low]):
        return text
    return f"{text} ± {(row[high] - row[low]) / 2:.3f}"


def _joined(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def main() -> None:
    """Rewrite every page."""
    table = load()
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        path.write_text(filled(text, path.stem, table), encoding="utf-8")


if __name__ == "__main__":
    main()
