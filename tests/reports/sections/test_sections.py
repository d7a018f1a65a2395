"""What sections put into their tables: comparisons, failures, and where rows come from.

Limits and figures have files of their own.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gapbench.bench.config.run import Run
from gapbench.bench.store.record import Status
from gapbench.bench.store.store import Store
from gapbench.reports.document.context import Evidence
from gapbench.reports.document.model import Bullets, Folded, Row, Section, Table, Terms, Text
from gapbench.reports.render.report import document, gather
from gapbench.reports.sections import (
    all_tasks,
    claims,
    failures,
    protocol,
    published,
    tasks,
    tuning,
)
from tests.reports.tables.test_published_comparison import cell_of, folder_of
from tests.reports.tables.test_tuning import found_in, search
from tests.reports.tables.test_tuning import stored as tuned_store
from tests.support.results_folder import FEW, fill, make_cell, make_record, make_task, put


def tables(section: Section) -> list[Table]:
    """Return the tables of a section."""
    return [part for part in section.flat if isinstance(part, Table)]


def shown(table: Table, row: Row) -> dict[str, str]:
    """Return what a row shows, by heading."""
    headings = [column.heading for column in table.columns]
    return dict(zip(headings, (value.text for value in row.values), strict=True))


def by_name(table: Table) -> dict[str, dict[str, str]]:
    """Return what the rows of a table show, by their names."""
    return {row.name: shown(table, row) for row in table.rows}


def test_tuned_row_stands_beside_its_default_in_the_table_of_tuning(tmp_path: Path) -> None:
    """It has the default's score, as the comparison shows it, the gain and its interval."""
    store = tuned_store(tmp_path, search(24))
    [study] = found_in(store)
    evidence = gather(store.root)
    outcome, section = tuning.section(evidence), tasks.section(evidence)
    assert outcome is not None
    tuned = by_name(tables(outcome)[0])["lora"]
    plain = next(by_name(t)["lora"] for t in tables(section) if "sentiment" in t.title)
    assert tuned["default test"] == plain["score"] == f"{study.default:.3f}"
    assert tuned["gain"] == f"{study.gain.mean:.3f}"
    assert tuned["gain 95 %"] == f"{study.gain.low:.3f} to {study.gain.high:.3f}"


def test_published_score_stands_beside_the_measured_one(tmp_path: Path) -> None:
    """With a question mark where it is recalled; a row without one is not there."""
    cells = [cell_of(method, "rte", "roberta-base") for method in ("lora", "bilora", "head")]
    section = published.section(gather(folder_of(tmp_path, *cells).root))
    assert section is not None
    rows = by_name(tables(section)[0])
    assert {row["published"] for row in rows.values()} >= {"0.8660 ± 0.0070", "0.8720?"}
    assert "head" not in rows


def test_comparison_has_what_is_best_possible_below(tmp_path: Path) -> None:
    """Where the truth of the rows is known."""
    store = fill(tmp_path, methods=FEW, tasks=(make_task(),))
    table = tables(tasks.section(gather(store.root)))[0]
    assert table.footer is not None
    assert shown(table, table.footer)["score"] == "0.860"


def test_all_tasks_have_means_and_differences_in_one_table(tmp_path: Path) -> None:
    """Over two tasks or more, a row has its mean and what it differs by; one task has none."""
    two = (make_task(), make_task("other"))
    section = all_tasks.section(gather(fill(tmp_path / "two", methods=FEW, tasks=two).root))
    assert section is not None
    [table] = tables(section)
    rows = by_name(table)
    assert set(rows) == set(FEW)
    assert rows["lora"]["Δ score"] == ""
    assert all(row["mean score"] for row in rows.values())
    one = fill(tmp_path / "one", methods=FEW, tasks=two[:1])
    assert all_tasks.section(gather(one.root)) is None


@pytest.mark.usefixtures("no_figures")
def test_every_row_about_a_method_has_its_colour_and_facets(tmp_path: Path) -> None:
    """Whatever section it stands in, so that filters reach it and it looks the same."""
    evidence = gather(fill(tmp_path, methods=FEW).root)
    rows = [
        row for section in document(evidence).sections for t in tables(section) for row in t.rows
    ]
    assert len(rows) > 15
    for row in rows:
        assert row.facets["method"] in FEW
        assert row.colour == evidence.colours[row.facets["method"]]


def left_out(evidence: Evidence) -> list[str]:
    """Return what failures say of rows that no test holds."""
    parts = failures.section(evidence).parts
    return [item for part in parts if isinstance(part, Bullets) for item in part.items]


def _one_seed(store: Store) -> None:
    put(store, make_record(make_cell("lora_dropout", config={"rank": 4}), 0))


def _unequal_seeds(store: Store) -> None:
    store.record_path(Run(make_cell("lora"), 2)).unlink()


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (lambda _: None, ["Not ranked, since nothing is trained: majority."]),
        (
            _unequal_seeds,
            [
                "Not ranked, since nothing is trained: majority.",
                "syn_sentiment on tiny-bert (suite quickstart): lora (2 of 3 seeds",
                "syn_sentiment on tiny-bert (suite quickstart): rows differ in their seeds",
            ],
        ),
        (
            _one_seed,
            [
                "Not ranked, since nothing is trained: majority.",
                "syn_sentiment on tiny-bert (in no suite): lora_dropout (one seed,",
                "1 run: no plan wants it",
            ],
        ),
    ],
)
def test_failures_say_what_no_test_holds(
    change: Callable[[Store], None], phrases: list[str], tmp_path: Path
) -> None:
    """References, single seeds and runs outside of plans, each with its number."""
    store = fill(tmp_path, methods=(*FEW, "majority"), tasks=(make_task(),))
    change(store)
    found = left_out(gather(store.root))
    assert len(found) == len(phrases)
    assert all(text.startswith(phrase) for text, phrase in zip(found, phrases, strict=True))


def test_failures_group_runs_that_differ_in_nothing_but_the_seed(tmp_path: Path) -> None:
    """One line a reason, with all its seeds; equal seeds of other reasons stand apart."""
    store = fill(tmp_path, methods=("lora",), tasks=(make_task(),))
    for seed, detail in ((2, "a"), (0, "a"), (1, "b")):
        put(store, make_record(make_cell("bad"), seed, status=Status.OUT_OF_MEMORY, detail=detail))
    [table] = tables(failures.section(gather(store.root)))
    found = {(row["status"], row["reason"], row["seeds"]) for row in map_rows(table)}
    assert found == {("out of memory", "a", "0, 2"), ("out of memory", "b", "1")}


def map_rows(table: Table) -> list[dict[str, str]]:
    """Return what each row of a table shows."""
    return [shown(table, row) for row in table.rows]


def test_protocol_has_a_command_for_each_row_that_names_a_stored_run(tmp_path: Path) -> None:
    """The hash is that of a run of the row; a row that never ran has none."""
    store = fill(tmp_path, methods=FEW, tasks=(make_task(),))
    never = make_cell("never")
    store.write_plan("more", [(Run(never, 0), "default")])
    evidence = gather(store.root)
    runs = evidence.results.runs.set_index("run_hash")["method"].to_dict()
    commands = {
        name: row["to run a seed again"]
        for table in tables(protocol.section(evidence))
        for name, row in by_name(table).items()
    }
    assert commands.pop("never") == ""
    assert set(commands) == set(FEW)
    for method, command in commands.items():
        match = re.fullmatch(r"gapbench reproduce ([0-9a-f]{16})", command)
        assert match is not None
        assert runs[match[1]] == method


def test_protocol_states_shared_settings_once(tmp_path: Path) -> None:
    """What all rows of a task have alike stands above the table, the rest in their rows."""
    store = Store(tmp_path)
    store.open_for_writing()
    for method, rank in (("lora", 4), ("dora", 8)):
        put(store, make_record(make_cell(method, config={"rank": rank, "alpha": 16.0})))
    section = protocol.section(gather(store.root))
    [terms] = [
        part.terms for part in section.flat if isinstance(part, Terms) and "task" in part.terms
    ]
    assert "alpha: 16.0" in terms["settings of all rows"]
    assert "rank" not in terms["settings of all rows"]
    [table] = tables(section)
    own = {name: row["settings of its own"] for name, row in by_name(table).items()}
    assert own == {"lora": "rank: 4", "dora": "rank: 8"}


def test_tasks_say_what_methods_drew_where_it_differs(tmp_path: Path) -> None:
    """Parts of the training set have partial batches of their own."""
    store = Store(tmp_path)
    store.open_for_writing()
    drawn = {"lora": {"train": 240}, "dora": {"train": 240}, "bilora": {"train": 228, "upper": 90}}
    for method, parts in drawn.items():
        record = make_record(make_cell(method, task=make_task()))
        assert record.cost is not None
        cost = record.cost.model_copy(update={"drawn": parts})
        put(store, record.model_copy(update={"cost": cost}))
    evidence = gather(store.root)
    found = [part for part in tasks.section(evidence).flat if isinstance(part, Bullets)]
    [said] = [item for part in found for item in part.items if "drawn" in item]
    for part in ("train 240 (", "train 228, upper 90 (bilora)"):
        assert part in said
    runs = evidence.results.runs.set_index("method")
    assert runs.loc["bilora", "drawn"] == "train 228, upper 90"


@pytest.mark.usefixtures("no_figures")
def test_times_and_memory_of_another_machine_are_marked(tmp_path: Path) -> None:
    """They stand beside those of the reference's machine, and a note says which they are."""
    store = fill(tmp_path, methods=FEW, tasks=(make_task(),))
    for seed in range(3):
        record = make_record(make_cell("head"), seed)
        store.record_path(record.run).unlink()
        other = record.provenance.model_copy(update={"threads": 7})
        put(store, record.model_copy(update={"provenance": other}))
    section = tasks.section(gather(store.root))
    rows = by_name(tables(section)[0])
    marked = {name for name, row in rows.items() if "\N{DAGGER}" in row["time"]}
    assert marked == {"head"}
    assert all(rows["head"][name].endswith("\N{DAGGER}") for name in ("scoring", "memory"))
    assert "other threads, than lora" in " ".join(
        part.text for part in section.flat if isinstance(part, Text)
    )


def test_claims_stand_clearest_first_and_doubtful_ones_are_folded() -> None:
    """What is shown stands on top, then what is contradicted; all tested claims are there."""
    measured = Path(__file__).parents[3] / "results" / "reference" / "measured" / "small_data"
    section = claims.section(gather(measured))
    assert section is not None
    told = [part for part in section.parts if isinstance(part, Table)]
    folded = [part for part in section.parts if isinstance(part, Folded)]
    rulings = [[shown(table, row)["ruling"] for row in table.rows] for table in told]
    assert rulings == [["shown", "contradicted", "contradicted"]]
    assert folded[0].title == "13 claims that these runs are too few to judge"
    doubtful = [part for part in folded[0].parts if isinstance(part, Table)]
    assert [len(table.rows) for table in doubtful] == [13]
    assert "were not tested here" in folded[1].title
