"""What the data say of claims that papers make; shown where they can speak about any."""

from collections.abc import Sequence

from gapbench.reports.claims.judge import JudgedClaim, judge
from gapbench.reports.claims.model import load
from gapbench.reports.document.columns import Field, ends, plain, read, table, value, worded
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Column, Folded, Part, Row, Section, Table, Text
from gapbench.reports.prose.claims_text import clearest_first, how, other_rows, ruling, summary
from gapbench.reports.tables.published import DIGITS
from gapbench.reports.tables.terminal import number
from gapbench.reports.tables.words import listed, signed

ORDER = 55

_SHORT = {"ece": "ECE", "nll": "NLL", "train_score": "train score"}
_TASKS = worded("tasks", "", lambda each: ", ".join(each.tasks))

_FIELDS = (
    worded("ruling", "what the data say of the claim", ruling),
    Field(
        Column("difference", "first minus second, mean over tasks"),
        lambda each: value(each.pair.difference, signed(each.pair.difference)),
    ),
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
        lambda each: f"{each.claim.text} {each.claim.source}, {each.claim.place}",
    ),
)


def section(evidence: Evidence) -> Section | None:
    """Return the section; None where no claim can be tested."""
    if evidence.results.part:
        return None  # a claim is judged by all tasks of the folder
    judged = judge(evidence.results, evidence.summary, load(), evidence.matters)
    tested = sorted((each for each in judged if each.tested), key=clearest_first)
    if not tested:
        return None
    same = len({each.tasks for each in tested}) == 1
    fields = _FIELDS if same else (*_FIELDS[:-1], _TASKS, _FIELDS[-1])
    where = f" The runs are of {listed(list(tested[0].tasks))}." if same else ""
    parts: list[Part] = [Text(summary(judged) + where)]
    told = [each for each in tested if each.ruling != "underpowered"]
    doubtful = [each for each in tested if each.ruling == "underpowered"]
    if told:
        parts.append(_table("Published claims and what these runs say", fields, told, evidence))
    parts.append(Text(" ".join(filter(None, (how(judged), other_rows(tested)))), quiet=True))
    if doubtful:
        title = f"{_counted(doubtful)} that these runs are too few to judge"
        parts.append(Folded(title, (_table("Underpowered claims", fields, doubtful, evidence),)))
    if rest := [each for each in judged if not each.tested]:
        missing = tuple(f"{each.claim.id}: {'; '.join(each.missing)}" for each in rest)
        title = f"{_counted(rest)} that {'was' if len(rest) == 1 else 'were'} not tested here"
        parts.append(Folded(title, (Bullets(missing),)))
    return Section("claims", "What papers claim, and what these runs say", tuple(parts))


def _table(
    title: str, fields: tuple[Field, ...], claims: Sequence[JudgedClaim], evidence: Evidence
) -> Table:
    lines = (
        Row(
            each.claim.id,
            read(each, fields),
            evidence.colours[each.claim.first.method],
            {"method": each.claim.first.method},
        )
        for each in claims
    )
    return table(title, "claim", fields, lines)


def _counted(claims: Sequence[JudgedClaim]) -> str:
    return "1 claim" if len(claims) == 1 else f"{len(claims)} claims"
