"""The scores of all methods, a table per task, and averages over tasks."""

from reports.average import averages
from reports.cells import best_possible, ends, heading, plain, shortened, table_of, title
from reports.document import Part, Section, Text
from reports.evidence import Evidence
from reports.leaderboard import leaderboard

FIELDS = (
    plain("group", "tie group: 1 is the best and all not told apart from it", "rank_group", 0),
    plain("score", "mean test score over seeds", "score"),
    ends("95 %", "Student t interval of the score over seeds", "score_ci_low", "score_ci_high"),
    plain("seeds", "seeds with a score", "n_seeds", 0),
    plain(
        "gap",
        "train minus test score; sign flipped where lower is better",
        "generalization_gap",
    ),
    ends("gap 95 %", "Student t interval of the gap over seeds", "gap_ci_low", "gap_ci_high"),
    plain("loss gap", "test minus train loss", "loss_gap"),
    plain("ECE", "expected calibration error before temperature scaling", "ece"),
    shortened("seconds", "training seconds per run", "train_seconds"),
    shortened("tokens/s", "training tokens per second", "tokens_per_second"),
    shortened("MiB", "peak memory", "peak_memory_bytes", 2**20),
    shortened("params", "trainable parameters", "trainable_params"),
    shortened("FLOPs", "floating-point operations of training", "train_flops"),
    plain(
        "failed",
        "runs that failed, diverged, ran out of memory or were interrupted",
        "n_failed",
        0,
    ),
)
_BAYES = {"score": "score", "ECE": "ece"}
_HOW = (
    "Scores are means over seeds at the checkpoint that validation chose. Group 1 holds the method "
    "with the best mean and all that are not significantly worse: paired t tests on common seeds, "
    "all pairs of a task, Holm correction, 5 %. An interval or group is empty where the seeds "
    "cannot give one."
)
_PAPER = (
    "Rows marked [paper] follow the papers' protocol: their checkpoint was chosen on the test "
    "split, so their scores flatter."
)
_AVERAGE = (
    "Mean over the nine tasks, seed by seed; several metrics or test sets of a task are averaged "
    "first."
)


def section(evidence: Evidence) -> Section:
    """Return the section."""
    parts: list[Part] = [Text(_HOW, quiet=True)]
    if (evidence.summary["protocol"] == "paper").any():
        parts.append(Text(_PAPER))
    for block in evidence.blocks:
        footer = best_possible(evidence, block, FIELDS, _BAYES)
        name = f"Leaderboard: {title(block)}"
        parts += [heading(block, measured=True), table_of(block, name, FIELDS, evidence, footer)]
    return Section("leaderboard", "Leaderboard", (*parts, *_averages(evidence)))


def _averages(evidence: Evidence) -> list[Part]:
    """Return a table for every average over tasks."""
    parts: list[Part] = []
    found = averages(leaderboard(evidence.summary), evidence.results.runs)
    for _, block in found.groupby(["suite", "backbone"], sort=False):
        name = f"Leaderboard: {title(block)}"
        parts += [heading(block), Text(_AVERAGE, quiet=True)]
        parts.append(table_of(block, name, FIELDS, evidence))
    return parts
