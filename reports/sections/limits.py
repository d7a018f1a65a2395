"""What the report cannot tell; each sentence stands only where the runs give reason for it."""

from collections.abc import Callable

from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Section, Text
from gapbench.reports.sections import _limits_of_data as of_data
from gapbench.reports.sections import _limits_of_runs as of_runs
from gapbench.reports.sections import _limits_of_scores as of_scores

ORDER = 100

_NOTHING = "There is no run with a score, and so nothing to judge."

_LIMITS: tuple[Callable[[Evidence], str], ...] = (
    of_scores.few_seeds,
    of_scores.small_tests,
    of_scores.unknown_items,
    of_scores.few_wrong,
    of_scores.unsteady,
    of_data.training_samples,
    of_scores.last_checkpoints,
    of_data.scope,
    of_data.generated,
    of_data.development_sets,
    of_data.shared_inputs,
    of_runs.paper,
    of_runs.tuning,
    of_runs.search,
    of_runs.failures,
    of_runs.skips,
    of_runs.machines,
    of_runs.stacks,
    of_runs.versions,
    of_runs.recalled,
)
"""From what weakens the verdict most to what touches single numbers."""


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
