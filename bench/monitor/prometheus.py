"""A results folder in the text format that Prometheus collects (version 0.0.4)."""

from collections.abc import Iterator, Mapping

from gapbench.bench.monitor.status import FolderStatus

Samples = list[tuple[Mapping[str, str], float | None]]
"""Values by their labels; one that does not exist is None."""

_HELP = {
    "runs": "Runs that a suite wants, by status.",
    "run_seconds_total": "Seconds of training and scoring in the records of a suite.",
    "train_tokens_total": "Tokens trained on, in the records of a suite.",
    "trials": "Trials of a study, by state.",
    "invocations": "Commands that work now.",
    "worker_busy": "Whether a worker is at a stack.",
    "worker_runs": "Runs that a worker has ended.",
    "worker_tokens_per_second": "Tokens trained on over the seconds of a worker's stacks.",
    "worker_peak_memory_bytes": "Peak memory of a worker.",
}
"""Meaning of each metric; those that end in `_total` are counters, the others gauges."""


def exposition(status: FolderStatus) -> str:
    """Return all metrics as text; a missing value has no line."""
    samples = _samples(status)
    return "".join(f"{line}\n" for name in _HELP for line in _metric(name, samples[name]))


def _samples(status: FolderStatus) -> dict[str, Samples]:
    suites = [({"suite": name}, suite) for name, suite in status.suites.items()]
    studies = [({"study": summary.study.name}, summary.tally) for summary in status.studies]
    workers = [({"log": each.log, "worker": each.name}, each) for each in status.workers]
    return {
        "runs": [
            (labels | {"status": name}, count)
            for labels, suite in suites
            for name, count in suite.statuses.items()
        ],
        "run_seconds_total": [(labels, suite.seconds) for labels, suite in suites],
        "train_tokens_total": [(labels, suite.tokens) for labels, suite in suites],
        "trials": [
            (labels | {"state": name}, count)
            for labels, tally in studies
            for name, count in tally.states.items()
        ],
        "invocations": [({}, status.alive)],
        "worker_busy": [(labels, worker.at is not None) for labels, worker in workers],
        "worker_runs": [(labels, worker.runs) for labels, worker in workers],
        "worker_tokens_per_second": [(labels, w.tokens_per_second) for labels, w in workers],
        "worker_peak_memory_bytes": [(labels, w.peak_memory_bytes) for labels, w in workers],
    }


def _metric(name: str, samples: Samples) -> Iterator[str]:
    yield f"# HELP gapbench_{name} {_HELP[name]}"
    yield f"# TYPE gapbench_{name} {'counter' if name.endswith('_total') else 'gauge'}"
    for labels, value in samples:
        if value is not None:
            inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
            shown = f"{{{inside}}}" if inside else ""
            yield f"gapbench_{name}{shown} {float(value):.16g}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
