"""Test score and calibration error of other formats of numbers beside float32, at equal seeds.

Prints a row for each task, method and format: the mean in float32, half the 95 % interval of that
mean over seeds, and the mean difference of the format to it. A difference inside the interval is
one that other seeds would make too. Finished runs in the results folder are kept.

    python -m tests.benchmarks.precision_parity RESULTS --seeds 10 --epochs 6
    python -m tests.benchmarks.precision_parity RESULTS --formats fp32,nf4 fp32,int8 fp32,int4
"""

import argparse

import pandas as pd
from scipy import stats

import gapbench

_SCORES = {"test_score": "score", "ece": "ece"}


def main() -> None:
    """Train in all formats, and print the table."""
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
    for kind in ("fp32", *options.formats):
        precision, _, few_bits = kind.partition(",")
        results = gapbench.run(
            suite | {"quantization": few_bits or None},
            results=options.results,
            precision=precision,
            data=options.data,
        )
    runs = results.runs[results.runs["status"] == "ok"]
    print(_table(runs).round(4).to_string(index=False))


def _table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each task, method and format of finished runs."""
    rows = []
    for (task, method), own in runs.groupby(["task", "method"]):
        by_format = {kind: same.set_index("seed") for kind, same in own.groupby("precision")}
        full = by_format.pop("fp32")
        for kind, other in by_format.items():
            row = {"task": task, "method": method, "format": kind, "seeds": len(other)}
            for column, name in _SCORES.items():
                spread = stats.t.ppf(0.975, len(full) - 1) * full[column].sem()
                row |= {
                    f"{name} fp32": full[column].mean(),
                    f"{name} interval": spread,
                    f"{name} difference": (other[column] - full[column]).mean(),
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
    parser.add_argument("--formats", nargs="+", default=["bf16"], metavar="PRECISION[,BITS]")
    parser.add_argument("--backbone", default="tiny-encoder")
    parser.add_argument("--data", help="folder of task files, for tasks from the hub")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    return parser


if __name__ == "__main__":
    main()
