"""A results folder in the text format that Prometheus collects (version 0.0.4)."""

from collections.abc import Iterator, Mapping
from typing import Literal

from gapbench.bench.monitor.status import FolderStatus, Worker

Sample = tuple[Mapping[str, str], float]


def exposition(status: FolderStatus) -> str:
    """Return all metrics as text; a value that does not exist has no line."""
    return "".join(f"{line}\n" for line in _all(status))


def _all(status: FolderStatus) -> Iterator[str]:
    suites = status.suites.items()
    yield from _metric(
        "gapbench_runs",
        "gauge",
        "Runs that a suite wants, by status.",
        [
            ({"suite": name, "status": status}, count)
            for name, share in suites
            for status, count in share.statuses.items()
        ],
    )
    yield from _metric(
        "gapbench_run_seconds_total",
        "counter",
        "Seconds of training and scoring in the records of a suite.",
        [({"suite": name}, share.seconds) for name, share in suites],
    )
    yield from _metric(
        "gapbench_train_tokens_total",
        "counter",
        "Tokens trained on, in the records of a suite.",
        [({"suite": name}, share.tokens) for name, share in suites],
    )
    yield from _metric(
        "gapbench_trials",
        "gauge",
        "Trials of a study, by state.",
        [
            ({"study": summary.study.name, "state": state}, count)
            for summary in status.studies
            for state, count in summary.tally.states.items()
        ],
    )
    yield from _metric(
        "gapbench_invocations", "gauge", "Commands that work now.", [({}, status.alive)]
    )
    for name, text, values in _gauges(status):
        yield from _metric(f"gapbench_worker_{name}", "gauge", text, values)


def _gauges(status: FolderStatus) -> Iterator[tuple[str, str, list[Sample]]]:
    workers = [(_labels(worker), worker) for worker in status.workers]
    yield "busy", "Whether a worker is at a stack.", [(k, w.at is not None) for k, w in workers]
    yield "runs", "Runs that a worker has ended.", [(k, w.runs) for k, w in workers]
    yield (
        "tokens_per_second",
        "Tokens trained on over the seconds of a worker's stacks.",
        [(k, w.tokens_per_second) for k, w in workers if w.tokens_per_second is not None],
    )
    yield (
        "peak_memory_bytes",
        "Peak memory of a worker.",
        [(k, w.peak_memory_bytes) for k, w in workers if w.peak_memory_bytes is not None],
    )


def _labels(worker: Worker) -> dict[str, str]:
    return {"log": worker.log, "worker": worker.name}


def _metric(
    name: str, kind: Literal["gauge", "counter"], text: str, samples: list[Sample]
) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{name}{{{inside}}} {float(value):.16g}" if inside else f"{name} {float(value):.16g}"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
