"""What the data say about the methods of a task or of all tasks, as facts without sentences.

A claim is made exactly where the simultaneous interval of a difference excludes zero. Page, PDF,
terminal, `compare`, JSON and the Python API show these objects and add words only.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gapbench.reports.tables.outcomes import Claim, Outcome
from gapbench.reports.tables.row_status import RANKED, RowStatus, state


@dataclass(frozen=True)
class Level:
    """What one row reaches in one outcome, with a 95 % interval for this row alone.

    Attributes:
        mean: over seeds; None where there is none.
        low: lower end of the interval; None where there is none.
        high: upper end, likewise.
        n_seeds: seeds with a value.
        n_items: items that the interval is over beside seeds, 0 if over none.
        withheld: why there is no interval; "" where there is one.
    """

    mean: float | None
    low: float | None
    high: float | None
    n_seeds: int
    n_items: int
    withheld: str = ""


SAME = "the same settings and runs under two names"
IDENTICAL = "identical on every seed, which more seeds would not change"


@dataclass(frozen=True)
class Contrast:
    """The difference of two rows in one outcome: first minus second.

    Attributes:
        first: name of a row.
        second: name of another.
        outcome: what differs.
        difference: mean on common seeds and items, in units of the outcome; None without any.
        low: lower end of the simultaneous interval; None where it is withheld.
        high: upper end, likewise.
        claim: whether the first is better or worse than the second, "" if the data do not tell.
        n_seeds: common seeds.
        n_items: common items that the interval is over beside seeds, 0 if over none.
        confidence: of this interval alone, such as 0.993; all of the study hold together with 0.95.
        withheld: why there is no interval and no claim; "" where there is one.
    """

    first: str
    second: str
    outcome: Outcome
    difference: float | None
    low: float | None
    high: float | None
    claim: Claim
    n_seeds: int
    n_items: int
    confidence: float
    withheld: str = ""

    @property
    def identical(self) -> bool:
        """Whether the rows gave the same on every seed, so that neither adds to the other."""
        return self.withheld in {SAME, IDENTICAL}

    @property
    def untold(self) -> bool:
        """Whether nothing can be said: there is no interval, though the rows differ."""
        return self.low is None and not self.identical

    def reversed(self) -> "Contrast":
        """Return second minus first."""
        flipped: dict[Claim, Claim] = {"better": "worse", "worse": "better", "": ""}
        return replace(
            self,
            first=self.second,
            second=self.first,
            difference=_minus(self.difference),
            low=_minus(self.high),
            high=_minus(self.low),
            claim=flipped[self.claim],
        )


@dataclass(frozen=True)
class Entry:
    """One row of a comparison.

    Attributes:
        name: method and, where it has one, variant: "lora", "lora / rank 16".
        method: its method.
        variant: its variant, "" if it is the default.
        config_hash: of its cell; "" over several tasks.
        settings: what the method was set to; over several tasks, what is alike on all.
        status: what it is; `reports.tables.row_status` says what each word means.
        why: what keeps it from being ranked, or how failed runs were counted; "" if nothing.
        commands: that complete the row.
        levels: by outcome; those unknown are absent.
        to_reference: this row minus the reference, by outcome; empty of the reference itself.
        to_best: this row minus the best ranked row that differs from it, in score: simultaneous
            intervals of multiple comparisons with the best; None if it is not ranked.
        beaten_by: names of the ranked rows whose score is better, best first.
        training: cost of training as a multiple of that of the reference, or where there is none of
            the ranked row with the best mean; None if unknown.
        passes: likewise of the passes that predict one example.
        scoring: likewise of the time of scoring a run; None too if it was measured elsewhere.
        memory: likewise of peak memory; None too where other numbers of runs trained together.
        n_failed: runs that failed, diverged or have no score.
    """

    name: str
    method: str
    variant: str
    config_hash: str
    settings: Mapping[str, Any]
    status: RowStatus
    why: str = ""
    commands: tuple[str, ...] = ()
    levels: Mapping[Outcome, Level] = field(default_factory=dict)
    to_reference: Mapping[Outcome, Contrast] = field(default_factory=dict)
    to_best: Contrast | None = None
    beaten_by: tuple[str, ...] = ()
    training: float | None = None
    passes: float | None = None
    scoring: float | None = None
    memory: float | None = None
    n_failed: int = 0

    @property
    def compared(self) -> bool:
        """Whether it is ranked, or the reference of those that are."""
        return self.status in RANKED


@dataclass(frozen=True)
class Design:
    """What a study of this size can tell, and what it would take to tell more.

    Ranges have 80 % confidence: variances are known from few seeds.

    Attributes:
        matters: least difference in score that matters, given by the reader or the metric's.
        n_seeds: of this study.
        n_items: likewise, 0 if unknown.
        detectable: true difference to the reference that 4 in 5 such studies would find, as
            (least, most); infinite where the metric allows no such difference.
        seeds: needed in all so that 4 in 5 studies find a difference of `matters`, likewise;
            infinite where the test items are too few.
    """

    matters: float
    n_seeds: int
    n_items: int
    detectable: tuple[float, float]
    seeds: tuple[float, float]


@dataclass(frozen=True, repr=False)
class Verdict:
    """What the data say of one task, or of all tasks of a suite together.

    Attributes:
        suite: name of the suite, "" of runs in none.
        task: name of the task, "" over several.
        backbone: name, "" if there are several.
        start: adapter that runs start from, "" if none.
        setting: short hash of all that the rows share.
        protocol: "strict" or "paper".
        differs: where a task was run under several settings, what tells this one from the others,
            such as "budget.epochs 2"; "" if there is only one.
        metric: of the score; over several tasks, what the mean is of; "" where it has no mean.
        higher_is_better: its direction.
        reference: name of the row that others are compared with; "" if there is none.
        entries: all rows: ranked ones by score, best first, then the others.
        pairs: all contrasts between ranked rows, by outcome and by (first, second), first being the
            one that stands higher in `entries`.
        recommended: name of the reference where nothing beats it, else of the cheapest row, of
            those that are shown, that beats it and that nothing beats; "" if there is nothing to
            recommend.
        why: the rule that chose it, one of the constants of `reports.verdict.recommend`.
        ties: the other rows that nothing beats.
        hidden: rows that nothing beats and that this part of a results folder leaves out, best
            first.
        untrained: best trained row minus each untrained one, in score.
        gains: each ranked row minus each untrained one, likewise, by both names.
        learned: whether some trained row is better than every untrained one; None if untold.
        ruled_out: advantage over the reference that no ranked row has, by the simultaneous
            intervals, those aside that are identical to it; None without such intervals.
        vacuous: whether that is as much as any row could have, or half of the possible range.
        optimism: by how much the best mean score is expected to flatter, as it was chosen for
            being the best; None if unknown.
        design: what such a study can tell; None if no variance is known.
        left_out: rows and tasks that are not compared over all tasks, and why.
        tasks: the verdicts on single tasks, where this one is over several; those that are left
            out of it too.
        n_tasks: number of tasks that it is over.
    """

    suite: str
    task: str
    backbone: str
    start: str
    setting: str
    protocol: str
    differs: str
    metric: str
    higher_is_better: bool
    reference: str
    entries: tuple[Entry, ...]
    pairs: Mapping[Outcome, Mapping[tuple[str, str], Contrast]]
    recommended: str
    why: str
    ties: tuple[str, ...]
    untrained: tuple[Contrast, ...]
    gains: Mapping[tuple[str, str], Contrast]
    learned: bool | None
    ruled_out: float | None
    optimism: float | None
    design: Design | None
    vacuous: bool = False
    hidden: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple["Verdict", ...] = ()
    n_tasks: int = 1

    def __repr__(self) -> str:
        over = (self.suite, self.task, self.backbone, self.start, self.differs)
        place = ", ".join(filter(None, over)) or "no runs"
        use = self.recommended or "nothing"
        return f"<Verdict on {place}: use {use} of {len(self.entries)} rows ({self.why})>"

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of a name.

        Raises:
            KeyError: if there is none.
        """
        for each in self.entries:
            if each.name == name:
                return each
        raise KeyError(name)

    def contrast(self, first: str, second: str, outcome: Outcome = "score") -> Contrast:
        """Return first minus second.

        Raises:
            KeyError: if one of them is no row of this verdict.
        """
        known = self.pairs.get(outcome, {})
        if outcome == "score":
            known = {**known, **self.gains}
        if (first, second) in known:
            return known[first, second]
        if (second, first) in known:
            return known[second, first].reversed()
        if second == self.reference and outcome in self[first].to_reference:
            return self[first].to_reference[outcome]
        if first == self.reference and outcome in self[second].to_reference:
            return self[second].to_reference[outcome].reversed()
        return uncompared(self[first], self[second], outcome)

    @property
    def kept_out(self) -> tuple[Entry, ...]:
        """The rows that are not compared although they were meant to be."""
        return tuple(
            each
            for each in self.entries
            if each.why and not each.compared and each.status != "untrained"
        )

    @property
    def everything(self) -> tuple["Verdict", ...]:
        """This verdict and those on its single tasks."""
        return (self, *self.tasks)


def uncompared(first: Entry, second: Entry, outcome: Outcome) -> Contrast:
    """Return the plain difference of two rows that no test compares, and why none does.

    Args:
        first: a row.
        second: what is subtracted from it.
        outcome: what differs.
    """
    levels = [row.levels.get(outcome) for row in (first, second)]
    means = [level.mean for level in levels if level is not None and level.mean is not None]
    reasons = [
        f"{row.name} {state(row.status, row.why)}" for row in (first, second) if not row.compared
    ]
    if any(level is not None and level.mean is not None and not level.n_items for level in levels):
        reasons.append("no values of single items are known")
    return Contrast(
        first=first.name,
        second=second.name,
        outcome=outcome,
        difference=means[0] - means[1] if len(means) == len(levels) else None,
        low=None,
        high=None,
        claim="",
        n_seeds=min(level.n_seeds if level is not None else 0 for level in levels),
        n_items=0,
        confidence=math.nan,
        withheld=reasons[0] if reasons else "some of the runs have no value",
    )


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
