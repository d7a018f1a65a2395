"""What the report cannot tell; each sentence stands only where the runs give reason for it."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from gapbench.bench.config.run import Folds
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Section, Text
from gapbench.reports.results.load import CURVE, MISSING
from gapbench.reports.tables.leaderboard import BOARD, NOT_FAILED, STOPPED, rows
from gapbench.reports.tables.terminal import label, number
from gapbench.reports.tables.words import listed

ORDER = 100

SMALL = 1000
"""Test examples below which chance moves an accuracy by 0.03 and more (binomial, 95 %)."""

UNSTEADY = 3.0
"""Standard deviations between seeds, in those of the usual row, from which a row is named."""

FEW_SEEDS = 5
"""Below this many seeds a tie says more about the study than about the methods."""

FEW_WRONG = 5
"""Below this many wrong answers a run, and with few seeds, intervals of accuracies are cautious."""

_NOTHING = "There is no run with a score, and so nothing to judge."


def section(evidence: Evidence) -> Section:
    """Return the section."""
    if not (evidence.summary["n_seeds"] > 0).any():
        return Section("limits", "Limits", (Text(_NOTHING),))
    return Section("limits", "Limits", (Bullets(tuple(found_limits(evidence))),))


def found_limits(evidence: Evidence) -> list[str]:
    """Return what limits the answer, from what weakens it most to what touches single numbers."""
    if not (evidence.summary["n_seeds"] > 0).any():
        return []
    return [sentence for limit in _LIMITS if (sentence := limit(evidence))]


def _ok(evidence: Evidence) -> pd.DataFrame:
    runs = evidence.results.runs
    return runs[runs["status"] == "ok"]


def _scored(evidence: Evidence) -> pd.DataFrame:
    return evidence.summary[evidence.summary["n_seeds"] > 0]


def _seeds(evidence: Evidence) -> str:
    seeds = _scored(evidence)["n_seeds"]
    few = seeds[seeds < FEW_SEEDS]
    if few.empty:
        return ""
    return (
        f"{len(few)} of {len(seeds)} rows have fewer than {FEW_SEEDS} seeds, the fewest "
        f"{few.min()}: their intervals are wide or missing, and a tie between them says more "
        "about the study than about the methods."
    )


def _tests(evidence: Evidence) -> str:
    sizes = _ok(evidence).groupby("task", sort=False)["test_examples"].min().dropna()
    small = sizes[sizes < SMALL].sort_values()
    if small.empty:
        return ""
    each = listed([f"{task} ({size})" for task, size in small.items()])
    n = int(small.iloc[0])
    margin = 1.96 * np.sqrt(0.25 / n)
    return (
        f"Some test sets are small: {each}. Which {n} examples were drawn moves an accuracy near "
        f"0.5 by up to {number(margin, 2)} either way (95 %), and one near 0 or 1 by less."
    )


def _items(evidence: Evidence) -> str:
    tasks = [
        row.task
        for row in rows(_scored(evidence))
        if row.n_seeds > 1 and not row.standing.counts["score"][row.name][1]
    ]
    if not tasks:
        return ""
    return (
        f"Some rows of {listed(list(dict.fromkeys(tasks)))} have no interval and are not compared, "
        "as no values of single test items are known."
    )


def _few_wrong(evidence: Evidence) -> str:
    """Name the rows whose counts are too small for an interval that covers 95 % and no more."""
    named = []
    for row in rows(_scored(evidence)):
        low, high = row.standing.possible
        n_seeds, n_items = row.standing.counts["score"][row.name]
        counted = row.metric == "accuracy" and pd.notna(row.score_ci_low) and n_seeds < FEW_SEEDS
        if counted and min(row.score - low, high - row.score) * n_items < FEW_WRONG:
            named.append(f"{row.name} on {row.task}")
    if not named:
        return ""
    return (
        f"Intervals of scores next to a bound are wider than they had to be: {listed(named)}, "
        f"with fewer than {FEW_WRONG} wrong answers a run, or right ones, and fewer than "
        f"{FEW_SEEDS} seeds. In simulations of three seeds they hold the truth in 98 to "
        "99 % of studies."
    )


def _unsteady(evidence: Evidence) -> str:
    """Name the rows that widen the intervals of all others: two or more of one board."""
    ranked = _scored(evidence)[_scored(evidence)["rank_group"].notna()]
    named = []
    for _, board in ranked.groupby(BOARD, sort=False):
        spreads = {
            row.name: float(np.std(list(row.by_seed.values()), ddof=1)) for row in rows(board)
        }
        usual = float(np.median(list(spreads.values())))
        unsteady = [
            f"{name} on {board['task'].iloc[0]} ({spread / usual:.0f} times as much)"
            for name, spread in spreads.items()
            if usual > 0 and spread > UNSTEADY * usual
        ]
        named += unsteady if len(unsteady) > 1 else []
    if not named:
        return ""
    return (
        f"Several rows vary far more between seeds than the usual one: {listed(named)}. No "
        "difference is held to vary less than half of what differences do on average, the row that "
        "varies most left out, so that the intervals of all methods there are wider for it."
    )


def _training_samples(evidence: Evidence) -> str:
    cells = evidence.results.cells
    known = [cells[key].cell for key in _scored(evidence)["config_hash"] if key in cells]
    drawn = {
        "folds" if isinstance(cell.resample, Folds) else cell.resample
        for cell in known
        if cell.resample != "fixed" or cell.budget.train_size is not None
    }
    said = [text for kind, text in _SAMPLES.items() if kind in drawn]
    return f"Training rows: {'; elsewhere '.join(said)}." if said else ""


_ALLOWED = (
    "intervals allow for the rows that two seeds have in common{source}, and are too wide where "
    "chance in training is larger than chance in drawing rows"
)
_SAMPLES = {
    "fixed": "all seeds train on one sample, so that intervals hold for it and not for others; "
    "`resample: per_seed` draws one for each seed",
    "per_seed": f"each seed trains on a sample of its own; {_ALLOWED.format(source='')}",
    "folds": "each seed trains on all but one fold of the same rows; "
    + _ALLOWED.format(source=" (after Nadeau and Bengio, 2003)"),
}


def _last_checkpoints(evidence: Evidence) -> str:
    curves = evidence.results.curves
    ends = {name: curve[-1, CURVE.index("step")] for name, curve in curves.items() if len(curve)}
    trained = _ok(evidence)
    trained = trained[trained["run_hash"].isin(list(ends)) & (trained["trainable_params"] > 0)]
    trained = trained.drop_duplicates("run_hash")  # two labels may share a run
    last = trained["checkpoint_step"] == trained["run_hash"].map(ends)
    if not last.any():
        return ""
    return (
        f"In {int(last.sum())} of {len(trained)} runs the chosen checkpoint is the last one: "
        "longer training might have changed their scores and their order."
    )


def _scope(evidence: Evidence) -> str:
    scored = _scored(evidence)
    only = [
        f"one {noun} ({scored[field].iloc[0]})"
        for field, noun in (("task", "task"), ("backbone", "backbone"))
        if len(set(scored[field])) == 1
    ]
    if not only:
        return ""
    return f"All scores are of {listed(only)}: elsewhere, other methods may be best."


def _generated(evidence: Evidence) -> str:
    cells = [record.cell for record in evidence.results.cells.values()]
    tasks = sorted({cell.task.name for cell in cells if hasattr(cell.task.source, "builtin")})
    if not tasks:
        return ""
    return (
        f"{listed(tasks)}: generated rows, made so that the best possible predictor is known; they "
        "stand for mechanisms and not for language as people write it."
    )


def _development_sets(evidence: Evidence) -> str:
    tasks = {
        record.cell.task.name
        for record in evidence.results.cells.values()
        if hasattr(record.cell.task.source, "hub")
        and not record.cell.task.splits.test.startswith("test")
    }
    if not tasks:
        return ""
    return (
        f"Test scores of {listed(sorted(tasks))} are on official development sets, on which much "
        "published work, methods of this report included, has made its choices."
    )


def _shared_inputs(evidence: Evidence) -> str:
    ok = _ok(evidence)
    found = [
        f"{counts.max()} of the {split} inputs of {task}"
        for split in ("test", "validation")
        for task, counts in ok.groupby("task", sort=False)[f"train_overlap_{split}"]
        if counts.fillna(0).max() > 0
    ]
    if not found:
        return ""
    return f"{listed(found)} stand in train too, so that remembering them counts as knowing them."


def _paper(evidence: Evidence) -> str:
    paper = _scored(evidence)["protocol"] == "paper"
    if not paper.any():
        return ""
    return (
        f"{int(paper.sum())} rows follow the papers' protocol: their checkpoint was chosen on the "
        "test split, so that their scores flatter and do not compare with strict ones."
    )


def _tuning(evidence: Evidence) -> str:
    trained = _scored(evidence)
    methods = set(trained.loc[trained["trainable_params"].fillna(1) != 0, "method"])
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


def _search(evidence: Evidence) -> str:
    trials = {each.summary.tally.trials for each in evidence.studies}
    if len(trials) < 2:
        return ""
    return (
        f"Searches took {min(trials)} to {max(trials)} trials: what a method gained by tuning "
        "depends on how many it had."
    )


def _failures(evidence: Evidence) -> str:
    runs = evidence.results.runs
    status = runs["status"]
    undefined = (status == "ok") & runs["test_score"].isna() & (runs["trainable_params"] != 0)
    kinds = {
        "failed": ~status.isin(list(NOT_FAILED)),
        "missing": status == MISSING,
        "stopped": status == STOPPED,
        "with an undefined metric": undefined.fillna(value=True),
    }
    counts = {kind: int(found.sum()) for kind, found in kinds.items() if found.any()}
    if not counts:
        return ""
    which = listed([f"{count} {kind}" for kind, count in counts.items()])
    return (
        f"{sum(counts.values())} of {len(status)} runs have no score ({which}). Failed ones "
        "count as the untrained row, or keep their method out of the ranking; missing ones do that."
    )


def _skips(evidence: Evidence) -> str:
    skipped = evidence.summary[evidence.summary["n_seeds"] == 0]
    known = evidence.results.runs
    names = known.loc[known["status"] == "skipped", ["method", "variant"]].drop_duplicates()
    names = names[names["method"].isin(skipped["method"])]
    if names.empty:
        return ""
    shown = [label(row.method, row.variant) for row in rows(names)]
    return f"{listed(shown)}: skipped on some tasks, so that no verdict over all tasks holds them."


def _machines(evidence: Evidence) -> str:
    ok = _ok(evidence)
    machines = set(zip(ok["device"], ok["threads"], strict=True))
    if len(machines) > 1:
        return (
            f"Runs took place on {len(machines)} devices or numbers of threads: seconds, "
            "throughput and memory compare within one alone."
        )
    if set(ok["device_type"]) == {"cpu"}:
        return "All runs took place on a CPU: on a GPU, another method may be the cheapest."
    return ""


def _stacks(evidence: Evidence) -> str:
    most = _ok(evidence)["stack_size"].max()
    if pd.isna(most) or most < 2:
        return ""
    return (
        f"Up to {int(most)} runs trained together on one copy of the backbone: seconds are each "
        "run's share, and memory is the total of all of them."
    )


def _versions(evidence: Evidence) -> str:
    ok = _ok(evidence)
    found = {name: set(ok[field]) - {""} for name, field in _SOURCES.items()}
    several = [f"{len(values)} {name}" for name, values in found.items() if len(values) > 1]
    if not several:
        return ""
    return f"Runs come from {listed(several)}: a change between them may show as a difference."


def _recalled(evidence: Evidence) -> str:
    recalled = sum(pair.figure.certainty == "recalled" for pair in evidence.published)
    if not recalled:
        return ""
    return (
        f"{recalled} of {len(evidence.published)} published figures are from memory and verified "
        "by nobody; they carry a question mark."
    )


_SOURCES = {
    "versions of the code": "code_hash",
    "versions of gapbench": "gapbench",
    "versions of torch": "torch",
    "sets of other packages": "packages",
}
_LIMITS: tuple[Callable[[Evidence], str], ...] = (
    _seeds,
    _tests,
    _items,
    _few_wrong,
    _unsteady,
    _training_samples,
    _last_checkpoints,
    _scope,
    _generated,
    _development_sets,
    _shared_inputs,
    _paper,
    _tuning,
    _search,
    _failures,
    _skips,
    _machines,
    _stacks,
    _versions,
    _recalled,
)
"""From what weakens the verdict most to what touches single numbers."""
