"""The answer: what the tasks say together, then task by task."""

from dataclasses import dataclass

from gapbench.reports.document.columns import ends, plain, read, table
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Part, Row, Section, Subheading, Table, Text
from gapbench.reports.figures.block import blocks
from gapbench.reports.figures.heatmaps import SCORES, overview
from gapbench.reports.figures.ranks import average_ranks, profiles, suites
from gapbench.reports.prose.verdict import sentences, title
from gapbench.reports.stats.intervals import Interval
from gapbench.reports.tables.suite_summary import SuiteSummary
from gapbench.reports.tables.words import listed

ORDER = 10

_HOW = (
    "A score estimates what a newly trained model is to be expected to reach on new items of the "
    "task: intervals, 95 %, are over seeds and test items where predictions of single items are "
    "stored and give the metric, else over seeds alone, and then hold for this test set. Methods "
    "are compared on common seeds and items. All intervals of differences in one suite hold "
    "together with 95 % confidence, and a method is called better or worse exactly where its "
    "interval excludes zero."
)
_ACROSS = (
    "Of {tasks}. Means count every task alike, and their intervals are over seeds and test items "
    "of these very tasks. Ranks ask more: whether the order would hold on other tasks like these."
)


def section(evidence: Evidence) -> Section:
    """Return the verdict on every suite of several tasks, and on every task."""
    parts: list[Part] = []
    drawn = {
        _key(each.together): each for each in suites(evidence.suite_summaries, evidence.colours)
    }
    for found in (each for each in evidence.verdicts if not each.task):
        suite = drawn[found.suite, found.backbone, found.start, found.protocol]
        if len(suite.together.ranked) > 1:
            parts += [Subheading(title(found)), Bullets(tuple(sentences(found)))]
            parts += [_about(suite.together), _table(suite.together, evidence, title(found))]
            parts += [each for each in (average_ranks(suite), profiles(suite)) if each is not None]
    if figure := overview(SCORES, blocks(evidence)):
        parts += [*([] if parts else [Subheading("All tasks at one glance")]), figure]
    for found in (one for each in evidence.verdicts for one in each.everything if one.task):
        about = {"task": found.task, "backbone": found.backbone}
        parts += [Subheading(title(found), about), Bullets(tuple(sentences(found)))]
    if not parts:
        return Section("verdict", "Verdict", (Text("There is no readable run."),))
    parts += [Subheading("How to read these sentences"), Text(_HOW)]
    return Section("verdict", "Verdict", tuple(parts))


def _key(together: SuiteSummary) -> tuple[str, str, str, str]:
    return together.suite, together.backbone, together.start, together.protocol


def _about(together: SuiteSummary) -> Text:
    return Text(_ACROSS.format(tasks=listed([t.name for t in together.tasks])), quiet=True)


@dataclass(frozen=True)
class _Line:
    """A row of the table over tasks."""

    name: str
    method: str
    group: int | None
    mean: Interval
    interquartile: Interval
    rank: float | None
    beaten: Interval


_RANK = plain("mean rank", "average over tasks of the rank by mean score, 1 is best", "rank", 1)
_FIELDS = (
    plain(
        "group", "1: beaten by no other row; else one more than the rows that beat it", "group", 0
    ),
    plain("mean", "mean over tasks of mean test scores", "mean.mean"),
    ends("95 %", "of the mean, over seeds and known test items", "mean.low", "mean.high"),
    plain("IQM", "mean of the middle half of all runs of all tasks", "interquartile.mean"),
    ends("IQM 95 %", "likewise", "interquartile.low", "interquartile.high"),
    _RANK,
    plain(
        "beaten",
        "probability that a run of the row with the best mean beats one of this row, mean over "
        "tasks, on common seeds",
        "beaten.mean",
        2,
    ),
    ends("beaten 95 %", "over seeds; none where all runs agree", "beaten.low", "beaten.high"),
)


def _table(together: SuiteSummary, evidence: Evidence, name: str) -> Table:
    """Return a table of all rows that have a score on every task."""
    fields = _FIELDS if together.averageable else (_RANK,)
    ranked = dict(together.ranks.average) if together.ranks else {}
    if together.averageable:
        twins = together.pairs.twins()
        ranked |= {name: ranked[own] for name, own in twins.items() if own in ranked}
    names = [*together.means] or [*ranked, *(n for n in together.names if n not in ranked)]
    found = [
        Row(line.name, read(line, fields), evidence.colours[line.method], {"method": line.method})
        for line in (_line(together, name, ranked.get(name)) for name in names)
    ]
    return table(name, "method", fields, found)


def _line(together: SuiteSummary, name: str, rank: float | None) -> _Line:
    first = together.tasks[0].rows[name]
    n = min(len(task.scores[name]) for task in together.tasks)
    nothing = Interval(0, None)
    mean, middle = (
        found[name].interval(n, together.possible) if name in found else nothing
        for found in (together.means, together.interquartile)
    )
    group = together.groups.get(name) if together.averageable else None
    best = next(iter(together.groups), name) if together.averageable else name
    beaten = nothing
    if name in together.ranked and name != best:
        beaten = together.improvement(best, name).interval(n, (0.0, 1.0))
    return _Line(name, first.method, group, mean, middle, rank, beaten)
