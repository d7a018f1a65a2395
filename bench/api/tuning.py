"""Tuning a suite: settings are searched, then defaults and winners are trained."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from gapbench.bench.api.calls import tune
from gapbench.bench.api.choices import CHECKPOINT_MINUTES, OBJECTIVES, one_of
from gapbench.bench.api.outcome import CallOutcome
from gapbench.bench.api.progress import progress_bar, say
from gapbench.bench.api.results import Results
from gapbench.bench.api.training import Work, train
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.process import choose_device
from gapbench.bench.core.schema import validate
from gapbench.bench.store.store import Store
from gapbench.bench.tuning import selected, study_plan
from gapbench.bench.tuning.schema import StudyFile, Unit
from gapbench.bench.tuning.search import search
from gapbench.bench.tuning.storage import default_url
from gapbench.bench.tuning.study_plan import Search, StudyPlan
from gapbench.bench.tuning.study_row import study_row


def tuned(**given: Any) -> Results:
    """Do the work of a call of `tune`."""
    how = _search(given)
    # The runs of winners and defaults.
    work = Work.of(tune, {**given, "checkpoint_minutes": CHECKPOINT_MINUTES})
    wanted, here = work.wanted, work.settings.here
    device = choose_device(work.settings.device if here else "cpu")
    plans, without = study_plan.studies(wanted.suite, wanted.planned, wanted.sources, how, device)
    for label, reason in without.items():
        say(f"no study of {label}: {reason}", progress=work.progress)
    for line in _budgets(plans, how):
        say(line, progress=work.progress)
    storage = given["storage"] or default_url(work.settings.results, shared=not here)
    return work.recorded(partial(_search_and_train, plans, storage))


def _budgets(plans: list[StudyPlan], how: Search) -> Iterator[str]:
    """Yield the budgets of studies, in their own unit, in trials and in compute."""
    unit = how.limit.unit
    meant = "compute of that many trials of plain LoRA" if unit == "compute" else unit
    several = f"{len(plans)} studies, each" if len(plans) != 1 else "1 study"
    yield f"{several} of {how.limit.amount:g}: {meant}"
    expected: dict[tuple[float, float], list[str]] = {}
    for plan in plans:
        if plan.expected is not None:
            expected.setdefault(plan.expected, []).append(plan.base.method)
    for (trials, compute), methods in sorted(expected.items(), reverse=True):
        of = ", ".join(dict.fromkeys(methods))
        yield f"  up to {trials:g} trials, with the compute of {compute:g} of plain LoRA: {of}"


def _search(given: Mapping[str, Any]) -> Search:
    """Return the settings of the search.

    Raises:
        ConfigError: if a value is not allowed, or several budgets are given.
    """
    limits = {unit: given[unit] for unit in get_args(Unit) if given[unit] is not None}
    if len(limits) > 1:
        raise ConfigError(f"a study has one budget, got {', '.join(limits)}; give one of them")
    objective = one_of("objective", given["objective"], OBJECTIVES)
    content = {
        "limit": next(({"unit": unit, "amount": n} for unit, n in limits.items()), {}),
        "level": given["space"],
        "objectives": tuple(objective.split("+")),
        **{name: given[name] for name in ("trial_seeds", "pruner", "sampler", "seed")},
    }
    return validate(Search, content, "tune")


def _cause(file: StudyFile) -> str:
    """Return how the first trial of a study ended."""
    first = next((trial for trial in file.trials if trial.status is not None), None)
    if first is None:
        return "none has ended"
    lines = (first.detail or "").strip().splitlines()
    return f"the first is {first.status}: {lines[-1] if lines else 'no cause is known'}"


def _search_and_train(plans: list[StudyPlan], storage: str, work: Work) -> CallOutcome:
    wanted, settings = work.wanted, work.settings
    settings = replace(settings, results=settings.results.resolve())  # a cluster's computers too
    with progress_bar(100, "% of all budgets", progress=work.progress) as bar:
        files = search(plans, storage, settings, lambda share: bar.update(100 * share - bar.n))
    if work.tracker:
        work.tracker.try_to_send_trials(plan.name for plan in plans)
    seeds = wanted.suite.seeds
    planned = [*wanted.planned, *selected.planned(plans, files, seeds)]
    outcome = train(replace(work, wanted=replace(wanted, planned=planned)))
    selected.complete(plans, files, seeds, Store(settings.results), settings.results)
    return replace(
        outcome,
        studies=[study_row(file) for file in files],
        studies_without_result={f.name: _cause(f) for f in files if f.best_number is None},
    )
