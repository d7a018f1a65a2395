"""Importance of searched settings for the best trials: optuna's PED-ANOVA on a study."""

import numpy as np
import optuna
from optuna.trial import create_trial

from gapbench.bench.tuning.schema import Dimension, StudyFile, TrialRow, Value
from gapbench.bench.tuning.space import distribution
from gapbench.bench.tuning.summary import Importances, score_of

TOP = 5
"""Minimum number of best trials; optuna calls its estimate unstable below it."""

FEWEST = 2 * TOP
"""With fewer scored trials, the best would be most of them."""


def importances(study: StudyFile) -> Importances:
    """Return the importance of each searched setting for the best trials.

    The best are the top tenth, but at least `TOP` trials. Trials outside the space, such as a
    method's own settings, are left out. Shares from few trials are rough, and sum to 1 even if no
    setting matters.

    Source: Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", 2023.
    """
    trials = [t for t in study.trials if score_of(t) is not None and _drawable(t, study)]
    if len(trials) < FEWEST:
        return Importances(absent=f"{len(trials)} scored trials, {FEWEST} needed")
    scores = np.array([score_of(trial) for trial in trials], dtype=np.float64)
    losses = -scores if study.direction == "maximize" else scores
    least = max(TOP, -(-len(trials) // 10))
    best = int((losses <= np.sort(losses)[least - 1]).sum())  # ties count together
    if best == len(trials):
        return Importances(absent="the best trials cannot be separated from the others")
    varied = [name for name in study.space if len({t.params[name] for t in trials}) > 1]
    if len(varied) < 2:
        return Importances(absent="fewer than two settings were varied")
    space = {name: distribution(study.space[name]) for name in varied}
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study
    rebuilt = optuna.create_study(direction="minimize")
    for trial, loss in zip(trials, losses.tolist(), strict=True):
        params = {name: trial.params[name] for name in varied}
        rebuilt.add_trial(create_trial(value=loss, params=params, distributions=space))
    # Imported here: it loads scikit-learn, which takes a second and a half.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    # Half a trial less, so that rounding cannot add a trial to the best.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(least - 0.5) / len(trials))
    shares = get_param_importances(rebuilt, evaluator=evaluator, params=varied)
    return Importances(shares=shares, top=best)


def _drawable(trial: TrialRow, study: StudyFile) -> bool:
    """Whether all values of a trial could have been drawn from the space."""
    return all(_holds(each, trial.params.get(name)) for name, each in study.space.items())


def _holds(dimension: Dimension, value: Value | None) -> bool:
    if dimension.kind == "choice":
        return value in dimension.choices
    if not isinstance(value, int | float) or dimension.low is None or dimension.high is None:
        return False
    return dimension.low <= value <= dimension.high
