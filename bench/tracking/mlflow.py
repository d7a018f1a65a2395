"""MLflow: runs go to the server, database or folder that MLFLOW_TRACKING_URI names."""

import os
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param
from mlflow.entities import Run as Sent

from gapbench.bench.tracking.base import PROJECT, TrackedRun

# MLflow itself waits 120 s eight times. It reads these at each request.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # seconds
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

_ID = "gapbench.run"  # MLflow makes run ids itself, so a tag holds ours
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # in one call
_MOST_CHARACTERS = 6000  # of a parameter


def send(run: TrackedRun, results: Path) -> bool:  # noqa: ARG001 - the interface of a tracker
    """Send a run, with its hash as a tag; see `base.Send`."""
    client = mlflow.MlflowClient()
    experiment = _experiment(client)
    for earlier in client.search_runs([experiment], f"tags.`{_ID}` = '{run.id}'"):
        if earlier.info.end_time is not None:
            return False
        client.delete_run(earlier.info.run_id)  # its sender was killed
    began = int(run.started.timestamp() * 1000)
    tags = {_ID: run.id, "gapbench.group": run.group, "gapbench.tags": ", ".join(run.tags)}
    sent = client.create_run(experiment, start_time=began, tags=tags, run_name=run.name)
    _fill(client, sent, run, began)
    seconds = run.scores.get("cost/train_seconds", 0) + run.scores.get("cost/evaluation_seconds", 0)
    client.set_terminated(
        sent.info.run_id, "FINISHED" if run.ok else "FAILED", began + int(seconds * 1000)
    )
    return True


def _experiment(client: mlflow.MlflowClient) -> str:
    """Return the id of the experiment that MLflow's variables name, created where needed.

    The process keeps its active experiment, which may be that of a notebook.
    """
    if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return number
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def _fill(client: mlflow.MlflowClient, sent: Sent, run: TrackedRun, began: int) -> None:
    params = [Param(name, text[:_MOST_CHARACTERS]) for name, text in run.flat_settings.items()]
    metrics = [
        Metric(name, value, began, step)
        for step, values in run.points
        for name, value in values.items()
    ]
    for start in range(0, len(params), _MOST_PARAMS):
        client.log_batch(sent.info.run_id, params=params[start : start + _MOST_PARAMS])
    for start in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(sent.info.run_id, metrics=metrics[start : start + _MOST_METRICS])
