"""Studies in the report: differences over fresh seeds, leaderboard columns, the page's section."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from gapbench.bench.config.run import Budget, Run
from gapbench.bench.core.errors import RecordError
from gapbench.bench.store.record import Record, SplitScores, Status
from gapbench.bench.store.store import Store
from gapbench.bench.tuning.analysis import write
from gapbench.bench.tuning.schema import Dimension, StudyFile
from gapbench.bench.tuning.summary import read_summaries
from gapbench.reports.document.model import Text
from gapbench.reports.render.build import build
from gapbench.reports.render.report import gather
from gapbench.reports.results.load import load
from gapbench.reports.sections.tuning import section
from gapbench.reports.tables.outcomes import SKEWED
from gapbench.reports.tables.summary import summarise
from gapbench.reports.tables.tuning import Tuned, tuned
from tests.reports.render.test_build import Page
from tests.support.fabricated_studies import SPACE, make_study, make_trial, search
from tests.support.results_folder import fill, make_cell, make_record, make_task, put

SEEDS = 4


def tuned_record(study: StudyFile, seed: int) -> Record:
    """Return a run of a study's winner; its test score beats the default's by 0.01 to 0.03."""
    trial = next(trial for trial in study.trials if trial.number == study.best_number)
    kind = "regression" if study.direction == "minimize" else "classification"
    params: dict[str, Any] = dict(trial.params)
    rate = params.pop("learning_rate")
    cell = make_cell(
        study.method, task=make_task(study.task, kind=kind), config={"alpha": 16.0, **params}
    )
    training = cell.training.model_copy(update={"learning_rate": rate})
    cell = cell.model_copy(update={"training": training})
    default = make_record(make_cell(study.method, task=cell.task), seed)
    sign = -1 if study.direction == "minimize" else 1
    score = (default.score("test") or 0) + sign * (0.01 + 0.005 * seed)
    splits = default.splits | {
        "test": SplitScores(metrics={study.metric: score}, loss=0.5, examples=400)
    }
    return make_record(cell, seed, splits=splits)


def stored(root: Path, *studies: StudyFile, seeds: int = SEEDS) -> Store:
    """Write a results folder with default runs, studies, and the runs of their winners."""
    tasks = {}
    for study in studies:
        kind = "regression" if study.direction == "minimize" else "classification"
        tasks[study.task] = make_task(study.task, kind=kind)
    methods = tuple(dict.fromkeys(study.method for study in studies))
    store = fill(root, methods=methods, tasks=tuple(tasks.values()), seeds=SEEDS)
    for study in studies:
        write(root / "tuning" / study.name, study)
        if study.best_number is None:
            continue
        records = [tuned_record(study, seed) for seed in range(seeds)]
        wanted = [(Run(record.cell, record.seed), "tuned") for record in records]
        store.write_plan("quickstart", wanted)
        for record in records:
            put(store, record)
    return store


def found_in(store: Store) -> list[Tuned]:
    """Return the studies of a folder beside its records."""
    results = load(store)
    return tuned(results, summarise(results), read_summaries(store.root))


def keep_default(store: Store, method: str) -> None:
    """Add a study whose best trial is the method's own settings, with runs on fresh seeds."""
    rate = make_cell(method).training.learning_rate
    best = make_trial(0, 0.9, params={"learning_rate": rate, "rank": 8, "dropout": 0.1})
    study = make_study(trials=(best, make_trial(1, 0.6)), method=method, name=method)
    write(store.root / "tuning" / method, study)
    runs = [Run(make_cell(method), seed) for seed in range(SEEDS)]
    store.write_plan("quickstart", [(run, v) for run in runs for v in ("default", "tuned")])
    for run in runs:
        put(store, make_record(run.cell, run.seed))


def said_of(store: Store) -> str:
    """Return what the section says that tuning gained."""
    found = section(gather(store.root))
    assert found is not None
    (text,) = [part.text for part in found.parts if isinstance(part, Text) and not part.quiet]
    return text


def test_winner_that_is_the_default_counts_as_unchanged(tmp_path: Path) -> None:
    """It stands in the denominator and in the mean optimism, and its gain is no gap."""
    store = stored(tmp_path, search(24))
    keep_default(store, "dora")
    found = {each.name: each for each in found_in(store)}
    assert {name: each.kept for name, each in found.items()} == {"lora": False, "dora": True}
    text = said_of(store)
    assert text.startswith("On test, tuning helped 1 of 2 methods beyond chance (lora): ")
    assert "Unchanged, since the best trial was the default: dora." in text
    mean = np.mean([each.optimism.mean or 0 for each in found.values()])
    assert f"flatter by {mean:.3f} on average" in text


def test_study_whose_only_winner_is_the_default_helped_none(tmp_path: Path) -> None:
    """That is no lack of seeds."""
    store = Store(tmp_path)
    store.open_for_writing()
    keep_default(store, "lora")
    text = said_of(store)
    assert text.startswith("On test, tuning helped 0 of 1 methods beyond chance: ")
    assert "Not compared" not in text


REGRESSION: dict[str, Any] = {
    "task": "syn_similarity",
    "metric": "mse",
    "direction": "minimize",
    "name": "r",
}


@pytest.mark.parametrize("change", [{}, REGRESSION])
def test_tuned_over_fresh_seeds_has_the_intervals_of_scipy(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """Optimism is a t interval, gain a paired one, both above zero in the direction of better."""
    study = search(24, **change)
    store = stored(tmp_path, study)
    [each] = found_in(store)
    sign = -1 if change else 1
    task = make_task(study.task, kind="regression" if change else "classification")
    tests = np.array([tuned_record(study, seed).score("test") or 0 for seed in range(SEEDS)])
    records = [make_record(make_cell("lora", task=task), seed) for seed in range(SEEDS)]
    defaults = np.array([record.score("test") or 0 for record in records])
    apart = np.array([record.score("validation") or 0 for record in records]) - defaults
    assert apart.any()
    losses = sign * ((each.best or 0) - tests - apart)
    ends = reference.t.interval(0.95, SEEDS - 1, losses.mean(), reference.sem(losses))
    assert each.optimism.mean == pytest.approx(losses.mean())
    assert (each.optimism.low, each.optimism.high) == pytest.approx(ends)
    level = 1 - 0.05 * (SKEWED if change else 1)  # comparisons in losses use less of it
    expected = reference.ttest_rel(tests, defaults).confidence_interval(level)
    signed = sorted(sign * end for end in (expected.low, expected.high))
    assert each.gain.mean == pytest.approx(0.0175)
    assert [each.gain.low, each.gain.high] == pytest.approx(signed)
    assert each.test == pytest.approx(tests.mean())


@pytest.mark.parametrize("lost", ["winner", "default"])
def test_optimism_is_of_seeds_with_scores(tmp_path: Path, lost: str) -> None:
    """A run that was lost counts as the untrained row in a comparison, and says nothing here."""
    study = search(24)
    store = stored(tmp_path, study)
    fill(tmp_path, methods=("majority",), tasks=(make_task(study.task),), seeds=SEEDS)
    cell = tuned_record(study, 0).cell if lost == "winner" else make_cell("lora")
    store.record_path(Run(cell, SEEDS - 1)).unlink()
    store.write(make_record(cell, SEEDS - 1, status=Status.FAILED, detail="cause"))
    [each] = found_in(store)
    seeds = range(SEEDS - 1)
    tests = np.array([tuned_record(study, seed).score("test") or 0 for seed in seeds])
    records = [make_record(make_cell("lora"), seed) for seed in seeds]
    apart = [(r.score("validation") or 0) - (r.score("test") or 0) for r in records]
    assert each.optimism.mean == pytest.approx(((each.best or 0) - tests - apart).mean())


def test_optimism_has_no_interval_where_test_items_are_unknown(tmp_path: Path) -> None:
    """Seeds alone do not say what other test items would change; the mean stays."""
    store = stored(tmp_path, search(24))
    [known] = found_in(store)
    assert known.optimism.low is not None
    for path in tmp_path.rglob("*.parquet"):
        path.unlink()
    [each] = found_in(store)
    assert (each.optimism.low, each.optimism.high) == (None, None)
    assert each.optimism.mean == known.optimism.mean


def test_tuned_without_runs_of_its_winner_knows_the_default_alone(tmp_path: Path) -> None:
    """Nothing is made up for fresh seeds that have not run."""
    [each] = found_in(stored(tmp_path, search(24), seeds=0))
    assert (each.row, each.again, each.test) == (None, None, None)
    assert (each.optimism.mean, each.gain.mean) == (None, None)
    assert each.best is not None
    assert each.default is not None


def test_tuned_rows_of_another_winner_belong_to_no_other_study(tmp_path: Path) -> None:
    """A study whose winner has other settings than the tuned row does not take that row."""
    first, second = search(24, name="a"), search(24, seed=3, name="b")
    store = stored(tmp_path, first)
    write(tmp_path / "tuning" / "b", second)
    by_name = {each.summary.study.name: each for each in found_in(store)}
    assert by_name["a"].row is not None
    assert by_name["b"].row is None


def _under_two_budgets(store: Store, study: StudyFile, seeds: int) -> list[StudyFile]:
    """Search the same under another budget, with the first seeds of default and winner, 0.1 lower.

    In the plan of the suite, these runs replace those of the same seeds.

    Returns:
        The studies, that of the other budget first; they know which cells they tuned.
    """
    shorter = {"budget": Budget(steps=100)}
    for variant, like in (("default", None), ("tuned", study)):
        for seed in range(seeds):
            record = tuned_record(like, seed) if like else make_record(make_cell("lora"), seed)
            test = record.splits["test"]
            lower = {name: (value or 0) - 0.1 for name, value in test.metrics.items()}
            splits = record.splits | {"test": test.model_copy(update={"metrics": lower})}
            cell = record.cell.changed(shorter)
            store.write_plan("quickstart", [(Run(cell, seed), variant)])
            put(store, make_record(cell, seed, splits=splits))
    found = []
    for name, cell in (("o", make_cell("lora").changed(shorter)), ("s", make_cell("lora"))):
        found.append(study.model_copy(update={"cell_hash": cell.hash, "name": name}))
    return found


def test_studies_of_two_budgets_have_the_rows_of_their_own(tmp_path: Path) -> None:
    """Even where both chose the same settings; which of two it was must be known."""
    study = search(24, name="s")
    store = stored(tmp_path, study)
    studies = _under_two_budgets(store, study, seeds=2)
    for each in studies:
        write(store.root / "tuning" / each.name, each)
    other, own = found_in(store)
    for shorter, longer in ((other.test, own.test), (other.default, own.default)):
        assert (longer or 0) - (shorter or 0) == pytest.approx(0.1, abs=0.02)
    assert other.row != own.row
    for each in studies:  # as earlier versions stored them
        write(store.root / "tuning" / each.name, each.model_copy(update={"cell_hash": ""}))
    assert [each.row for each in found_in(store)] == [None, None]


def test_winner_is_compared_with_no_default_of_another_budget(tmp_path: Path) -> None:
    """What the winner reached is told, and what it gained is not."""
    study = search(24)
    store = stored(tmp_path, study)
    shorter = make_cell("lora").changed({"budget": Budget(steps=100)})
    for seed in range(SEEDS):
        store.write_plan("quickstart", [(Run(shorter, seed), "default")])
        put(store, make_record(shorter, seed))
    [each] = found_in(store)
    assert each.row is not None
    assert each.test is not None
    assert (each.default, each.gain.mean, each.optimism.mean) == (None, None, None)


@pytest.mark.usefixtures("no_figures")
def test_study_whose_runs_were_replaced_has_no_row(tmp_path: Path) -> None:
    """What it took stands beside no winner of another budget."""
    study = search(24, name="s")
    store = stored(tmp_path / "results", study)
    _, own = _under_two_budgets(store, study, seeds=SEEDS)
    write(store.root / "tuning" / own.name, own)
    [each] = found_in(store)
    assert (each.row, each.test, each.default) == (None, None, None)
    table = pd.read_csv(build(store.root, tmp_path / "out").leaderboard)
    assert table["tune_trials"].isna().all()


def test_tuned_of_a_variant_finds_the_rows_named_after_it(tmp_path: Path) -> None:
    """The winner of the variant x stands under "x tuned"."""
    study = search(24, variant="rate 0.5")
    store = stored(tmp_path, study)
    records = [tuned_record(study, seed) for seed in range(SEEDS)]
    wanted = [(Run(record.cell, record.seed), "rate 0.5 tuned") for record in records]
    store.write_plan("quickstart", wanted)
    [each] = found_in(store)
    assert each.name == "lora / rate 0.5"
    assert each.row is not None
    assert each.row[-1] == "rate 0.5 tuned"


@pytest.mark.usefixtures("no_figures")
def test_build_with_studies_fills_the_columns_of_tuned_rows_alone(tmp_path: Path) -> None:
    """Tuned rows say how many settings, trials and seconds; default rows took none."""
    store = stored(tmp_path / "results", search(24), search(24, method="dora", name="d"))
    built = build(store.root, tmp_path / "out")
    table = pd.read_csv(built.leaderboard)
    rows = table[["tuned_dimensions", "tune_trials", "tune_compute", "tune_seconds"]]
    winners = table["variant"] == "tuned"
    assert rows[winners].to_numpy().tolist() == [[3, 24, 24.0, 48.0]] * 2
    assert set(table["method"][winners]) == {"lora", "dora"}
    assert rows[~winners].isna().all(axis=None)


@pytest.mark.usefixtures("no_figures")
def test_build_without_studies_has_neither_section_nor_column(tmp_path: Path) -> None:
    """A folder that was never tuned is reported as before."""
    built = build(fill(tmp_path / "results", methods=("lora",)).root, tmp_path / "out")
    assert "tuned_dimensions" not in built.table.columns
    assert 'id="tuning"' not in built.report.read_text(encoding="utf-8")


@pytest.mark.usefixtures("page_alone")
def test_build_draws_the_trials_of_each_tuned_task(tmp_path: Path) -> None:
    """Sensitivity stands in the section once a task, for all its methods."""
    studies = (search(24), search(24, method="dora", name="d"), search(24, **REGRESSION))
    store = stored(tmp_path / "results", *studies)
    page = Page(build(store.root, tmp_path / "out").report)
    labels = [attrs.get("aria-label") or "" for tag, attrs in page.tags if tag == "svg"]
    assert sum(label.startswith("Best validation") for label in labels) == 2
    text = " ".join("".join(page.text).split())
    assert (
        "syn_similarity on tiny-bert (suite quickstart): mean squared error, lower is better"
        in text
    )
    assert "learning_rate 0.0001 to 0.01, by order; rank in 2, 4, 8, 16; dropout 0 to 0.5" in text
    assert "$" not in text.partition("Tuning")[2].partition("Protocol")[0]


@pytest.mark.usefixtures("page_alone")
def test_build_with_studies_twice_gives_equal_pages(tmp_path: Path) -> None:
    """The section is a function of the files alone."""
    root = stored(tmp_path / "results", search(24)).root
    first, second = build(root, tmp_path / "a"), build(root, tmp_path / "b")
    assert first.report.read_bytes() == second.report.read_bytes()


DEGENERATE: dict[str, StudyFile] = {
    "no trial yet": make_study([]),
    "one trial": make_study([0.7]),
    "all equal": make_study([0.7] * 12),
    "all failed": make_study([None] * 12),
    "one scored among failures": make_study([None, 0.7, None]),
    "no dimension": make_study([0.7, 0.8], space={}),
    "one dimension": make_study([0.7, 0.8], space={"rank": SPACE["rank"]}),
    "outside the space": make_study(
        trials=(
            make_trial(0, 0.7, params={"learning_rate": 0.1, "rank": 64, "dropout": None}),
            make_trial(1, None, params={}),
        )
    ),
    "odd choices": make_study(
        [0.7, 0.8], space={"norm": Dimension(where="config", kind="choice", choices=(None, True))}
    ),
    "scores of zero": make_study([0.0, 0.0, -1.0]),
}


@pytest.mark.usefixtures("page_alone")
@pytest.mark.parametrize("name", DEGENERATE)
def test_build_of_a_study_that_says_little_makes_a_page(tmp_path: Path, name: str) -> None:
    """Studies without spread, scores or winner leave gaps, and neither error nor warning."""
    study = DEGENERATE[name]
    store = fill(tmp_path / "results", methods=("lora",), tasks=(make_task(),))
    write(store.root / "tuning" / study.name, study)
    page = Page(build(store.root, tmp_path / "out").report)
    text = "".join(page.text)
    assert "What the search took" in text
    assert ("No trial has a score." in text) == (study.best_number is None)


def test_build_of_more_methods_than_colours_draws_them_all(tmp_path: Path) -> None:
    """The ninth method shares a colour and differs in its line; hostile names stay text."""
    names = [f"m{place}" for place in range(8)] + ["<b>$x$"]
    store = fill(tmp_path / "results", methods=("lora",), tasks=(make_task(),))
    for place, name in enumerate(names):
        write(store.root / "tuning" / str(place), search(9, method=name, name=str(place)))
    page = Page(build(store.root, tmp_path / "out").report)
    assert page.count("b") == 0
    assert "".join(page.text).count("<b>$x$") >= 4


@pytest.mark.usefixtures("no_figures")
def test_build_with_a_broken_study_names_the_file(tmp_path: Path) -> None:
    """A study that cannot be read is an error, since what was spent is then unknown."""
    store = fill(tmp_path / "results", methods=("lora",))
    write(store.root / "tuning" / "x", make_study([0.7]))
    path = store.root / "tuning" / "x" / "summary.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(RecordError, match=r"summary\.json"):
        build(store.root, tmp_path / "out")
