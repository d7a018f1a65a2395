"""gapbench: which overfitting control for LoRA fine-tuning, on which task, and how sure.

    import gapbench

    results = gapbench.run("quickstart", methods=["lora", "hiddenkey"], seeds=3)
    results.leaderboard()
    results.compare("lora", "hiddenkey")
    results.verdict()

Names mean what they mean on the command line. `advise` races methods on your rows and returns
`Advice`; `run` and `tune` train and return `Results`; `check`
and `plan` look at a suite; `load` reads a results folder, and `status` says how far it is.
`reproduce` and `export` train a stored run again; `track` sends stored runs to a tracker; `score`
scores outputs of any system, and `as_evaluate` gives a metric to the `evaluate` package.
`export_answers` and `import_judgements` exchange answers with judges. `register` makes a `Method`
of a script or notebook known to suites. Everything is imported when it is first used: reading
results loads no training libraries. All errors raised on purpose are `BenchError`s.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gapbench.bench import __version__

if TYPE_CHECKING:
    from gapbench.bench.adaptation.method import Method, MethodConfig
    from gapbench.bench.adaptation.registry import register
    from gapbench.bench.adaptation.train_state import DataPartition, Phase, StepReport, TrainState
    from gapbench.bench.api.advise import advise
    from gapbench.bench.api.advising.answer import Advice
    from gapbench.bench.api.calls import check, plan, run, tune
    from gapbench.bench.api.judging import export_answers, import_judgements
    from gapbench.bench.api.outcome import CallOutcome
    from gapbench.bench.api.results import Results, load
    from gapbench.bench.api.stored import (
        export,
        gate,
        reproduce,
        score,
        status,
        submit,
        track,
        verify,
    )
    from gapbench.bench.api.views import Claims, Comparison, Gate, Verdicts
    from gapbench.bench.config.task import Task
    from gapbench.bench.core.errors import BenchError
    from gapbench.bench.data.batching import Batch
    from gapbench.bench.experiment.schema import Suite
    from gapbench.bench.metrics.evaluate_module import as_evaluate
    from gapbench.bench.models.backbone import Backbone

__all__ = [
    "Advice",
    "Backbone",
    "Batch",
    "BenchError",
    "CallOutcome",
    "Claims",
    "Comparison",
    "DataPartition",
    "Gate",
    "Method",
    "MethodConfig",
    "Phase",
    "Results",
    "StepReport",
    "Suite",
    "Task",
    "TrainState",
    "Verdicts",
    "__version__",
    "advise",
    "as_evaluate",
    "check",
    "export",
    "export_answers",
    "gate",
    "import_judgements",
    "load",
    "plan",
    "register",
    "reproduce",
    "run",
    "score",
    "status",
    "submit",
    "track",
    "tune",
    "verify",
]

# A notebook without ipywidgets gets bars of text. `tqdm` warns of that when any library first asks
# for a bar, which is before gapbench draws one.
warnings.filterwarnings("ignore", message="IProgress not found")

_HOMES = {
    "adaptation.method": ("Method", "MethodConfig"),
    "adaptation.registry": ("register",),
    "adaptation.train_state": ("DataPartition", "Phase", "StepReport", "TrainState"),
    "api.advising.answer": ("Advice",),
    "api.advise": ("advise",),
    "api.calls": ("check", "plan", "run", "tune"),
    "api.judging": ("export_answers", "import_judgements"),
    "api.outcome": ("CallOutcome",),
    "api.results": ("Results", "load"),
    "api.stored": ("export", "gate", "reproduce", "score", "status", "submit", "track", "verify"),
    "api.views": ("Claims", "Comparison", "Gate", "Verdicts"),
    "config.task": ("Task",),
    "core.errors": ("BenchError",),
    "data.batching": ("Batch",),
    "experiment.schema": ("Suite",),
    "metrics.evaluate_module": ("as_evaluate",),
    "models.backbone": ("Backbone",),
}


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'gapbench' has no attribute {name!r}")
    return getattr(import_module(f"gapbench.bench.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
