"""What every column of the CSV files means: the one definition, for docs and `columns.json`.

A test tells how to write docs/data.md anew where it differs.
"""

import re
from collections.abc import Iterable, Iterator

_FIRST_WORDS = """\
# The data files

`gapbench report` writes these tables beside the page, and `columns.json`, which says of each of
their columns what this page says. Text that does not exist is empty, and so is a number. Counts are
whole numbers, in `leaderboard.csv` means over seeds that are rounded; others have 12 significant
digits. Seconds, memory and tokens per second are of the machine that the row names, in
`leaderboard.csv` medians over seeds.

| file | a row is |
| --- | --- |
| `leaderboard.csv` | a cell (suite, task, backbone, method, variant), over its seeds |
| `runs.csv` | a run (a cell and a seed), failed, skipped and missing ones too |
| `curves.csv` | a run, a step and a split: scores and losses along training |
| `second_tests.csv` | a cell and a second test, over its seeds; where a suite has any |
| `judgements.csv` | a cell, a test and what judges were asked for; where answers were judged |
| `judges.csv` | a judge, a test and what judges were asked for; where answers were judged |

Columns that few results folders have are there only where they are used. `NAME` stands for any
name.

| column | unit | meaning |
| --- | --- | --- |
"""

COLUMNS: dict[str, tuple[str, str]] = {
    "suite": ("", "suite that the row belongs to"),
    "task": ("", "name of the task"),
    "backbone": ("", "name of the frozen model"),
    "start": ("", "adapter that training starts from"),
    "method": ("", "name of the method"),
    "variant": ("", "variant of the method; [paper]: its checkpoint was chosen on the test split"),
    "seed": ("", "number that fixes all chance in the run"),
    "repeat": ("", "cut into folds that the run trains on, from 0; see resample in a suite"),
    "fold": (
        "",
        "fold of it that is the validation split (of nested folds, the test split), from 0",
    ),
    "run_hash": ("", "identifies the run; gapbench reproduce takes it"),
    "config_hash": ("", "identifies the cell, which is the run without its seed"),
    "setting": ("", "hash of all that compared cells share; only rows alike in it compare"),
    "differs": ("", "what tells that setting from others of the task, where there are several"),
    "protocol": ("", "strict: validation chooses checkpoints; paper: the test split does"),
    "status": ("", "runs: how it ended; leaderboard: what the row is in its comparison"),
    "detail": ("", "why a run was skipped or failed"),
    "path": ("", "record of the run, in the results folder"),
    "predictions": ("", "its stored predictions, in the results folder"),
    "metric": ("", "main metric of the task; of judges, rating (1 to 10) or win_rate (0 to 1)"),
    "higher_is_better": ("boolean", "direction of the main metric"),
    "score": ("of the metric", "mean of the main test metric over seeds"),
    "score_ci_low": ("of the metric", "lower end of its 95 % interval, for this row alone"),
    "score_ci_high": ("of the metric", "upper end of it"),
    "score_ci_over": ("", "what the interval is over: seeds and items"),
    "rank_group": ("count", "1 where no method is shown to be better, else more"),
    "beaten_by": ("", "methods that are shown to be better in score"),
    "reference": ("", "method that the row is compared with"),
    "vs_reference": ("of the metric", "score minus that of the reference, on common seeds"),
    "vs_reference_low": ("of the metric", "lower end of its simultaneous 95 % interval"),
    "vs_reference_high": ("of the metric", "upper end of it"),
    "vs_reference_claim": ("", "better or worse where that interval excludes zero"),
    "test": ("", "test that the row is about: a second test (also_test), or of judges, any"),
    "n_items": (
        "count",
        "items that scores are over, 0 where their values are unknown; of judges, those that the "
        "same ones judged in all rows and seeds",
    ),
    "n_judges": ("count", "judges of these answers"),
    "judge": ("", "name of who judged"),
    "n_judgements": ("count", "answers or pairs that the judge judged"),
    "mean": ("of the metric", "mean of the judge's ratings"),
    "tie_share": ("share", "of the judge's pairs that are ties"),
    "first_share": ("share", "of the judge's other pairs where the answer shown first won"),
    "first_ci_low": ("share", "lower end of its 95 % interval; without bias it holds 0.5"),
    "first_ci_high": ("share", "upper end of it"),
    "alpha": ("", "Krippendorff's alpha of all judges: 1 agreement, 0 as by chance"),
    "own_test": ("of the metric", "the same metric on the test split of the trained task"),
    "bare": ("of the metric", "that of the backbone without any adapter"),
    "change": ("of the metric", "score minus that of the bare backbone, on the same items"),
    "change_ci_low": ("of the metric", "lower end of its 95 % interval, for this row alone"),
    "change_ci_high": ("of the metric", "upper end of it"),
    "missing": ("", "why runs have no score on the second test; empty where all have one"),
    "SPLIT_score": ("of the metric", "main metric on train, validation or test"),
    "SPLIT_score_ci_low": ("of the metric", "lower end of its 95 % interval"),
    "SPLIT_score_ci_high": ("of the metric", "upper end of it"),
    "SPLIT_loss": ("nats", "mean loss on the split"),
    "SPLIT_examples": ("count", "examples of the split that were scored"),
    "train_overlap_SPLIT": ("count", "examples of the split whose input is in train too"),
    "train_share": ("share", "training rows over those that they are drawn from anew"),
    "generalization_gap": ("of the metric", "train minus test score; flipped if lower is better"),
    "gap_ci_low": ("of the metric", "lower end of its 95 % interval"),
    "gap_ci_high": ("of the metric", "upper end of it"),
    "loss_gap": ("nats", "test minus train loss"),
    "checkpoint_step": ("steps", "step of the checkpoint that was chosen"),
    "temperature": ("", "fitted on validation; above 1: the model was overconfident"),
    "ece": ("share", "expected calibration error of the top label, 15 bins of equal width"),
    "ece_ci_low": ("share", "lower end of its 95 % interval"),
    "ece_ci_high": ("share", "upper end of it"),
    "ece_equal_mass": ("share", "the same with bins of equal counts"),
    "ece_floor": ("share", "error that a perfectly calibrated model would show on so few items"),
    "ece_classwise": ("share", "mean over classes of the error of each class's probability"),
    "mce": ("share", "largest calibration error of a bin"),
    "brier": ("", "mean squared error of the probabilities"),
    "nll": ("nats", "negative log-likelihood on test"),
    "nll_ci_low": ("nats", "lower end of its 95 % interval"),
    "nll_ci_high": ("nats", "upper end of it"),
    "NAME_calibrated": ("", "the same after the temperature fitted on validation"),
    "bayes_NAME": ("", "what the best possible predictor reaches, on built-in tasks"),
    "train_seconds": ("s", "time in training steps and a fit after; a run's share of its stack"),
    "evaluation_seconds": ("s", "time in scoring, along training and at the end"),
    "steps": ("count", "optimiser updates"),
    "train_tokens": ("count", "tokens trained on, padding not counted"),
    "tokens_per_second": ("1/s", "training tokens over seconds in steps"),
    "peak_memory_bytes": ("bytes", "most memory in use, of all runs that trained together"),
    "trainable_params": ("count", "trainable parameters"),
    "train_flops": ("count", "floating-point operations of training and a fit after"),
    "forward_passes": ("count", "passes forward in training and a fit after, in batches"),
    "backward_passes": ("count", "passes backward"),
    "inference_passes": ("count", "passes, forward and backward, that predict one example"),
    "drawn": ("", "training examples that steps drew, by the part of the training set"),
    "fit_examples": ("", "examples that a fit after training passed forward, by split"),
    "stack_size": ("count", "runs that trained together"),
    "tune_trials": ("count", "trials of the search that chose the settings"),
    "tune_seconds": ("s", "time of that search"),
    "tune_compute": ("", "compute of that search, in runs of the plain method"),
    "tuned_dimensions": ("count", "settings that were searched"),
    "n_seeds": ("count", "seeds with a score"),
    "n_failed": ("count", "runs that failed, diverged or ran out of memory"),
    "device": ("", "processor"),
    "device_type": ("", "cpu, cuda or mps"),
    "threads": ("count", "threads of the processor"),
    "precision": ("", "fp32, bf16 or fp64, and the format of quantised layers"),
    "started_at": ("time", "when the run began, UTC"),
    "gapbench": ("", "version of gapbench"),
    "torch": ("", "version of torch"),
    "packages": ("", "versions of Python and of the other packages that numbers depend on"),
    "code_hash": ("", "hash of the source that made the run"),
    "git_commit": ("", "commit of that source, where it was a clone; -dirty if files differed"),
    "published": ("of the metric", "score that a paper prints for the same cell"),
    "published_source": ("", "paper and table"),
    "published_certainty": ("", "how the printed score is known"),
    "step": ("count", "optimiser updates so far"),
    "split": ("", "train, validation or test"),
    "loss": ("nats", "mean loss on the sample of the split that curves are of"),
    "config.NAME": ("", "setting of the method, such as its rank"),
    "training.NAME": ("", "setting of the optimiser, such as the learning rate"),
    "drop.POSITION": ("share", "what the method drops there in training"),
    "TEST/ece": ("share", "on a second test, calibration error without a temperature"),
    "TEST/bare_NAME": ("of that metric", "on a second test, of the backbone without any adapter"),
    "SPLIT/NAME": ("of that metric", "another metric of the split, or one on a second test"),
    "SPLIT/NAME/PART": ("of that metric", "a metric on a part of the split"),
}
"""Unit and meaning of each column; words in capitals stand for any name."""

_ANY = re.compile(r"(?:SPLIT|TEST|NAME|PART|POSITION)")
_STANDS_FOR = {"SPLIT": r"[\w.-]+", "PART": ".+"}
_PATTERNS = {
    name: re.compile(_ANY.sub(lambda word: _STANDS_FOR.get(word[0], "[^/]+"), re.escape(name)))
    for name in COLUMNS
}


def described(columns: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return unit and meaning of columns of a file.

    Raises:
        KeyError: if one has no definition.
    """
    return {name: dict(zip(("unit", "meaning"), _found(name), strict=True)) for name in columns}


def _found(column: str) -> tuple[str, str]:
    if column in COLUMNS:
        return COLUMNS[column]
    fitting = [name for name, pattern in _PATTERNS.items() if pattern.fullmatch(column)]
    if not fitting:
        raise KeyError(f"column {column!r} has no definition in {__name__}")
    return COLUMNS[max(fitting, key=_said)]


def _said(pattern: str) -> tuple[int, int]:
    """Return how much of a name a pattern says: letters before the first word, and in all."""
    first = _ANY.search(pattern)
    return first.start() if first else len(pattern), len(_ANY.sub("", pattern))


def _lines() -> Iterator[str]:
    for name, (unit, meaning) in COLUMNS.items():
        yield f"| `{name}` | {unit} | {meaning} |"


def page() -> str:
    """Return docs/data.md."""
    return _FIRST_WORDS + "\n".join(_lines()) + "\n"
