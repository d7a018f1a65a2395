"""Fill the table of published claims in `docs/claims.md` from `results/reference/claims.yaml`.

python docs/claims_table.py
"""

from collections.abc import Iterable
from pathlib import Path

from gapbench.reports.claims.model import PublishedClaim, load

PAGE = Path(__file__).parent / "claims.md"
BEGIN, END = "<!-- claims: begin -->\n", "<!-- claims: end -->\n"
_HEADER = """\
| id | claim | comparison | published | source, how it is known |
| --- | --- | --- | --- | --- |
"""


def table(claims: Iterable[PublishedClaim]) -> str:
    """Return a row for each claim."""
    return _HEADER + "".join(map(_row, claims))


def filled(text: str, claims: Iterable[PublishedClaim]) -> str:
    """Return the page with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(claims)}\n{END}{after}"


def _row(claim: PublishedClaim) -> str:
    how = f"alike within {claim.margin:g}" if claim.margin else f"{claim.expected} than"
    where = f", {', '.join(claim.tasks)}" if claim.tasks else ""
    size = "" if claim.published is None else f"{claim.published:+.4f}"
    compared = f"`{claim.first}` {how} `{claim.second}`, {claim.metric}{where}"
    source = f"{claim.source}, {claim.place}; {claim.certainty.replace('_', ' ')}"
    text = f"{claim.text} {claim.note}".strip()
    return f"| `{claim.id}` | {text} | {compared} | {size} | {source} |\n"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), load()), encoding="utf-8")
