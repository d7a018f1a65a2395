"""What the data say of claims that papers make; shown where they can speak about any."""

from gapbench.reports.claims.judge import judge
from gapbench.reports.claims.model import load
from gapbench.reports.document.columns import Field, ends, plain, read, table, value, worded
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Column, Folded, Part, Row, Section, Text
from gapbench.reports.prose.claims_text import how, other_rows, ruling, summary
from gapbench.reports.tables.published import DIGITS
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import listed

ORDER = 55

_SHORT = {"ece": "ECE", "nll": "NLL", "train_score": "train score"}
_TASKS = worded("tasks", "", lambda each: ", ".join(each.tasks))

_FIELDS = (
    worded("ruling", "what the data say of the claim", ruling),
    plain("difference", "first minus second, mean over tasks", "pair.difference"),
    ends("95 %", "all intervals of the table hold together", "pair.low", "pair.high"),
    plain("seeds", "common seeds", "pair.n_seeds", 0),
    Field(
        Column("published", "first minus second, as the paper gives it"),
        lambda each: value(each.claim.published, number(each.claim.published, DIGITS)),
    ),
    worded("in", "", lambda each: _SHORT.get(each.claim.metric, each.claim.metric)),
    worded(
        "claim and source",
        "",
        lambda each: (
            f"{each.claim.text} {each.claim.source}, {each.claim.place}"
            + (f". {other_rows(each)}" if each.others else "")
        ),
    ),
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where no claim can be tested."""
    if evidence.results.part:
        return None  # a claim is judged by all tasks of the folder
    judged = judge(evidence.results, evidence.summary, load(), evidence.matters)
    tested = [each for each in judged if each.tested]
    if not tested:
        return None
    same = len({each.tasks for each in tested}) == 1
    fields = _FIELDS if same else (*_FIELDS[:-1], _TASKS, _FIELDS[-1])
    lines = [
        Row(
            each.claim.id,
            read(each, fields),
            evidence.colours[each.claim.first.method],
            {"method": each.claim.first.method},
        )
        for each in tested
    ]
    rest = tuple(
        f"{each.claim.id}: {'; '.join(each.missing)}" for each in judged if not each.tested
    )
    where = f" The runs are of {listed(list(tested[0].tasks))}." if same else ""
    parts: list[Part] = [
        Text(summary(judged) + where),
        table("Published claims and what these runs say", "claim", fields, lines),
        Text(how(judged), quiet=True),
    ]
    if rest:
        parts.append(Folded(f"{len(rest)} claims that were not tested here", (Bullets(rest),)))
    return Section("claims", "What papers claim, and what these runs say", tuple(parts))
