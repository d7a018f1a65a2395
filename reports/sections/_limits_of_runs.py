"""What limits comparisons: protocols, tuning, lost runs, machines and versions."""

import pandas as pd

from gapbench.reports.document.context import Evidence
from gapbench.reports.results.rows import MISSING
from gapbench.reports.sections._limits_of_scores import ok_runs, scored_rows
from gapbench.reports.tables.leaderboard import NOT_FAILED, STOPPED, rows
from gapbench.reports.tables.row_status import that_train
from gapbench.reports.tables.terminal import label
from gapbench.reports.tables.words import listed

_SOURCES = {
    "versions of the code": "code_hash",
    "versions of gapbench": "gapbench",
    "versions of torch": "torch",
    "sets of other packages": "packages",
}


def paper(evidence: Evidence) -> str:
    """Count the rows of the papers' protocol."""
    paper = scored_rows(evidence)["protocol"] == "paper"
    if not paper.any():
        return ""
    return (
        f"{int(paper.sum())} rows follow the papers' protocol: their checkpoint was chosen on the "
        "test split, so that their scores flatter and do not compare with strict ones."
    )


def tuning(evidence: Evidence) -> str:
    """Say which methods were tuned, if not all were."""
    methods = set(that_train(scored_rows(evidence))["method"])
    tuned = {each.summary.study.method for each in evidence.studies}
    if not tuned:
        return (
            "No method was tuned: each has the settings of its suite, which may suit some better "
            "than others."
        )
    if not methods - tuned:
        return ""
    return (
        f"Only {listed(sorted(tuned))} were tuned; {listed(sorted(methods - tuned))} had their "
        "suite's settings, so that a tuned row does not compare fairly with theirs."
    )


def search(evidence: Evidence) -> str:
    """Say how far searches differ in trials."""
    trials = {each.summary.tally.trials for each in evidence.studies}
    if len(trials) < 2:
        return ""
    return (
        f"Searches took {min(trials)} to {max(trials)} trials: what a method gained by tuning "
        "depends on how many it had."
    )


def failures(evidence: Evidence) -> str:
    """Count the runs without a score, by cause."""
    runs = evidence.results.runs.drop_duplicates("run_hash")
    status = runs["status"]
    trained = runs.index.isin(that_train(runs).index)
    undefined = (status == "ok") & runs["test_score"].isna() & trained
    kinds = {
        "failed": ~status.isin(list(NOT_FAILED)),
        "missing": status == MISSING,
        "stopped": status == STOPPED,
        "with an undefined metric": undefined,
    }
    counts = {kind: int(found.sum()) for kind, found in kinds.items() if found.any()}
    if not counts:
        return ""
    which = listed([f"{count} {kind}" for kind, count in counts.items()])
    return (
        f"{sum(counts.values())} of {len(status)} runs have no score ({which}). Failed ones "
        "count as the untrained row, or keep their method out of the ranking; missing ones do that."
    )


def skips(evidence: Evidence) -> str:
    """Name the rows that were skipped on some tasks."""
    skipped = evidence.summary[evidence.summary["n_seeds"] == 0]
    known = evidence.results.runs
    names = known.loc[known["status"] == "skipped", ["method", "variant"]].drop_duplicates()
    names = names[names["method"].isin(skipped["method"])]
    if names.empty:
        return ""
    shown = [label(row.method, row.variant) for row in rows(names)]
    if len({*known["task"]}) == 1:
        return f"{listed(shown)}: skipped, so that no verdict holds them."
    return f"{listed(shown)}: skipped on some tasks, so that no verdict over all tasks holds them."


def machines(evidence: Evidence) -> str:
    """Say where runs took place, if that limits figures of cost."""
    ok = ok_runs(evidence)
    threads = ok["threads"].where(ok["device_type"] == "cpu", 0)  # which a GPU hardly feels
    machines = set(zip(ok["device"], threads, strict=True))
    if len(machines) > 1:
        return (
            f"Runs took place on {len(machines)} devices or numbers of threads: seconds, "
            "throughput and memory can be compared only between runs on the same one."
        )
    if set(ok["device_type"]) == {"cpu"}:
        return "All runs took place on a CPU: on a GPU, another method may be the cheapest."
    return ""


def stacks(evidence: Evidence) -> str:
    """Say that runs shared a backbone."""
    most = ok_runs(evidence)["stack_size"].max()
    if pd.isna(most) or most < 2:
        return ""
    return (
        f"Up to {int(most)} runs trained together on one copy of the backbone: seconds are each "
        "run's share, and memory is the total of all of them."
    )


def versions(evidence: Evidence) -> str:
    """Count the versions of the code and of packages."""
    ok = ok_runs(evidence)
    found = {name: set(ok[field]) - {""} for name, field in _SOURCES.items()}
    several = [f"{len(values)} {name}" for name, values in found.items() if len(values) > 1]
    if not several:
        return ""
    return f"Runs come from {listed(several)}: a change between them may show as a difference."


def recalled(evidence: Evidence) -> str:
    """Count the published figures that nobody verified."""
    recalled = sum(pair.figure.certainty == "recalled" for pair in evidence.published)
    if not recalled:
        return ""
    return (
        f"{recalled} of {len(evidence.published)} published figures are from memory and verified "
        "by nobody; they carry a question mark."
    )
