"""What the report says that it cannot tell: each sentence with its cause, and none without."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gapbench.bench.config.run import Folds, NestedFolds, Resample, Run
from gapbench.bench.store.record import Provenance, Record, SplitScores, Status
from gapbench.bench.store.store import Store
from gapbench.reports.document.model import Bullets, Section, Text
from gapbench.reports.render.report import gather
from gapbench.reports.sections import limits
from tests.reports.results.test_items import predicted, stored
from tests.support.known_truth import write
from tests.support.results_folder import FEW, fill, make_cell, make_record, make_task, put

SEEDS = 5
ALWAYS = (
    "test sets are small",
    "one task",
    "generated rows",
    "No method was tuned",
    "on a CPU",
)
"""What holds of every small study here."""


def sentences(store: Store) -> list[str]:
    """Return the limits of a study."""
    part = limits.section(gather(store.root)).parts[0]
    return list(part.items) if isinstance(part, Bullets) else []


def study(root: Path, method: str = "lora", seeds: int = SEEDS, **change: Any) -> Store:
    """Write a complete study of one task, in which one method's records differ."""
    store = fill(root, methods=tuple(name for name in FEW if name != method), tasks=(make_task(),),
                 seeds=SEEDS)  # fmt: skip
    cell = make_cell(method)
    store.write_plan("more", [(Run(cell, seed), "default") for seed in range(seeds)])
    for seed in range(seeds):
        put(store, make_record(cell, seed, **change))
    return store


def provenance(**change: Any) -> Provenance:
    """Return where a record comes from, but for what is changed."""
    origin: Provenance = make_record().provenance
    return origin.model_copy(update=change)


def count(found: list[str], phrase: str) -> int:
    """Return how many sentences hold a phrase."""
    return sum(phrase in sentence for sentence in found)


@pytest.mark.parametrize(
    "resample", ["fixed", "per_seed", Folds(folds=5), NestedFolds(folds=5, nested=True)]
)
def test_training_sample_is_said_to_be_one_or_one_a_seed(
    tmp_path: Path, resample: Resample
) -> None:
    """Where rows are left out of training, intervals count chance in that or not."""
    cell = make_cell()
    budget = cell.budget.model_copy(update={"train_size": 50})
    cell = cell.model_copy(update={"budget": budget, "resample": resample})
    store = fill(tmp_path, methods=FEW, tasks=(make_task(),), seeds=SEEDS)
    put(store, make_record(cell, 0))
    found = sentences(store)
    assert count(found, "All seeds train on one sample") == (resample == "fixed")
    assert count(found, "a sample of its own") == (resample == "per_seed")
    assert count(found, "all but one fold") == (type(resample) is Folds)
    assert count(found, "tested on one fold") == isinstance(resample, NestedFolds)
    assert count(found, "some rows in common") == (resample != "fixed")


def test_plain_study_has_its_plain_limits(tmp_path: Path) -> None:
    """Nothing that did not happen is held against it."""
    found = sentences(fill(tmp_path, methods=FEW, tasks=(make_task(),), seeds=SEEDS))
    expected = (*ALWAYS, "trained together")
    assert [count(found, phrase) for phrase in expected] == [1] * len(expected)
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("phrase", "change"),
    [
        ("1 of 3 rows have fewer than 5 seeds, the fewest 3", {"seeds": 3}),
        ("Also in train: 7 of the test inputs of syn_sentiment", {"train_overlap": {"test": 7}}),
        ("2 devices or numbers of threads", {"device": "another one"}),
        ("2 versions of the code", {"provenance": provenance(code_hash="e" * 64)}),
        ("2 sets of other packages", {"provenance": provenance(versions={"numpy": "1"})}),
    ],
)
def test_limit_stands_where_its_cause_does(
    phrase: str, change: dict[str, Any], tmp_path: Path
) -> None:
    """One odd method is enough, and the sentence has its numbers."""
    assert count(sentences(study(tmp_path / "odd", **change)), phrase) == 1
    assert count(sentences(study(tmp_path / "even")), phrase.partition(" ")[2]) == 0


def test_lost_runs_are_counted(tmp_path: Path) -> None:
    """Failed and missing runs weaken what is left, skipped ones what is said of all tasks."""
    store = fill(tmp_path, methods=FEW, tasks=(make_task(),), seeds=SEEDS)
    lost = [make_cell(name) for name in ("bad", "never", "odd", "flat", "half", "majority")]
    store.write_plan("more", [(Run(cell, 0), "default") for cell in lost])
    put(store, make_record(lost[0], status=Status.FAILED, detail="because"))
    put(store, make_record(lost[2], status=Status.SKIPPED, detail="because"))
    undefined = SplitScores(metrics={"accuracy": None, "f1": None}, loss=1.0, examples=10)
    put(store, make_record(lost[3], splits={"test": undefined}, generalization_gap=None))
    put(store, make_record(lost[4], status=Status.INTERRUPTED, detail="SIGTERM"))
    record = make_record(lost[5], splits={"test": undefined}, generalization_gap=None)
    assert record.cost is not None
    untrained = record.cost.model_copy(update={"trainable_params": 0})
    put(store, record.model_copy(update={"cost": untrained}))
    found = sentences(store)
    which = "1 failed, 1 missing, 1 stopped and 1 with an undefined metric"
    rule = "Failed ones count as the untrained row, or keep their method out of the ranking"
    assert count(found, f"4 of 21 runs have no score ({which}). {rule}") == 1
    assert count(found, "odd: skipped, so that no verdict holds them") == 1


def test_paper_protocol_is_a_limit(tmp_path: Path) -> None:
    """Rows whose checkpoint was chosen on the test split are counted."""
    store = fill(tmp_path, methods=FEW, tasks=(make_task(),), seeds=SEEDS)
    for seed in range(SEEDS):
        put(store, make_record(make_cell("lora", protocol="paper"), seed))
    assert count(sentences(store), "1 rows follow the papers' protocol") == 1


def test_development_set_as_test_set_is_a_limit(tmp_path: Path) -> None:
    """Official splits are told apart by their names; generated tasks are no such thing."""
    hub = {"hub": "owner/name", "revision": "0" * 40}
    for name, split in (("dev", "validation"), ("own", "test")):
        task = make_task(name, source=hub, splits={"train": "train", "test": split})
        found = sentences(fill(tmp_path / name, methods=FEW, tasks=(task,), seeds=SEEDS))
        assert count(found, "Test scores of dev are on official development sets") == (
            name == "dev"
        )
        assert count(found, "generated rows") == 0


def test_checkpoints_at_the_end_are_counted(tmp_path: Path) -> None:
    """Where the last evaluation was the best, longer training might have been better."""
    last: Record = make_record()
    end = {"step": last.curve[-1].step, "validation_score": 0.8}
    found = sentences(study(tmp_path, checkpoint=end))
    assert count(found, "In 5 of 15 runs the chosen checkpoint is the last one") == 1


@pytest.mark.parametrize("known", [True, False])
def test_rows_without_items_are_a_limit(known: bool, tmp_path: Path) -> None:
    """Without stored predictions nothing is known of other test sets; with them, something is."""
    tables = {seed: predicted(seed) if known else None for seed in range(SEEDS)}
    found = sentences(stored(tmp_path, make_cell("lora"), tables).store)
    assert count(found, "Some rows of syn_sentiment have no interval") == (not known)


def test_study_without_a_score_has_nothing_to_judge(tmp_path: Path) -> None:
    """There are no limits of numbers that do not exist."""
    store = fill(tmp_path, methods=(), tasks=(make_task(),))
    put(store, make_record(status=Status.FAILED, detail="because"))
    found = limits.section(gather(store.root))
    assert found == Section("limits", "Limits", (Text(limits._NOTHING),))


@pytest.mark.parametrize("unsteady", [(), ("head",), ("head", "bitfit")])
def test_rows_that_vary_far_more_than_others_are_named(
    unsteady: tuple[str, ...], tmp_path: Path
) -> None:
    """Two widen the intervals of all; one does not."""
    store = fill(tmp_path, methods=(*FEW, "bitfit", "dora"), tasks=(make_task(),), seeds=SEEDS)
    for method, seed in product(unsteady, range(SEEDS)):
        record = make_record(make_cell(method), seed)
        test = record.splits["test"]
        moved = {"accuracy": (record.score("test") or 0.0) + 0.05 * (seed - 2), "f1": 0.5}
        splits = record.splits | {"test": test.model_copy(update={"metrics": moved})}
        store.record_path(record.run).unlink()
        put(store, record.model_copy(update={"splits": splits}))
    found = sentences(store)
    for method in unsteady:
        assert count(found, f"{method} on syn_sentiment (") == (len(unsteady) > 1)
    assert count(found, "far more between seeds") == (len(unsteady) > 1)


@pytest.mark.parametrize(
    ("level", "seeds", "named"), [(5.2, 3, True), (2.0, 3, False), (5.2, 5, False)]
)
def test_rows_with_few_wrong_answers_and_few_seeds_are_named(
    tmp_path: Path, level: float, seeds: int, *, named: bool
) -> None:
    """Their intervals cover more than they say."""
    store = write(tmp_path, {"lora": level, "dora": level}, seeds=seeds, items=100, draw=2)
    found = sentences(store)
    assert count(found, "next to a bound are wider than they had to be") == named


def test_accuracies_are_spoken_of_where_there_are_any(tmp_path: Path) -> None:
    """A small test set of numbers is small too, but no accuracy moves."""
    task = make_task("syn_similarity", kind="regression")
    (found,) = [
        each
        for each in sentences(fill(tmp_path, methods=FEW, tasks=(task,), seeds=SEEDS))
        if "test sets are small" in each
    ]
    assert "accuracy" not in found
