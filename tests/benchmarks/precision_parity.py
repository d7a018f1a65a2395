"""Test score and calibration error in bfloat16 beside float32, at equal seeds.

Prints a row for each task and method: the mean in float32, half the 95 % interval of that mean over
seeds, and the mean difference of bfloat16 to it. A difference inside the interval is one that other
seeds would make too. Finished runs in the results folder are kept.

    python -m tests.benchmarks.precision_parity RESULTS --seeds 10 --epochs 6
"""

import argparse

import pandas as pd
from scipy import stats

import gapbench

_SCORES = {"test_score": "score", "ece": "ece"}


def main() -> None:
    """Train in both precisions, and print the table."""
    options = _parser().parse_args()
    suite = {
        "name": "precision_parity",
        "tasks": options.tasks,
        "backbones": [options.backbone],
        "methods": options.methods,
        "seeds": options.seeds,
        "budget": {"epochs": options.epochs, "batch_size": 16, "evaluations": 2},
        "training": {"learning_rate": options.learning_rate},
    }
    for precision in ("fp32", "bf16"):
        results = gapbench.run(
            suite, results=options.results, precision=precision, data=options.data
        )
    runs = results.runs[results.runs["status"] == "ok"]
    print(_table(runs).round(4).to_string(index=False))


def _table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each task and method of finished runs."""
    rows = []
    for (task, method), own in runs.groupby(["task", "method"]):
        row = {"task": task, "method": method}
        for column, name in _SCORES.items():
            by_precision = {
                kind: same.set_index("seed")[column] for kind, same in own.groupby("precision")
            }
            both = pd.DataFrame(by_precision).dropna()
            spread = stats.t.ppf(0.975, len(both) - 1) * both["fp32"].sem()
            differences = both["bf16"] - both["fp32"]
            row |= {
                "seeds": len(both),
                f"{name} fp32": both["fp32"].mean(),
                f"{name} interval": spread,
                f"{name} difference": differences.mean(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results folder, created if needed")
    parser.add_argument("--tasks", nargs="+", default=["syn_acceptability", "syn_sentiment"])
    parser.add_argument(
        "--methods", nargs="+", default=["lora", "hiddenkey", "lora_dropout", "bilora"]
    )
    parser.add_argument("--backbone", default="tiny-encoder")
    parser.add_argument("--data", help="folder of task files, for tasks from the hub")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    return parser


if __name__ == "__main__":
    main()
