"""Answers for judges, and their judgements back in reports."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gapbench
from gapbench.bench.core.errors import DataError, RecordError, StoreError
from gapbench.bench.store.store import Store
from gapbench.bench.store.submission import check, pack
from gapbench.reports.render.build import build, terminal
from tests.support.judged_folder import (
    ITEMS,
    METHODS,
    SEEDS,
    Line,
    answered,
    count_well,
    judged,
    lines_of,
    text_of,
    write_lines,
)
from tests.support.results_folder import fill
from tests.support.small_suite import call

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A folder with answers, which no test changes."""
    return answered(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def exported(store: Store) -> Path:
    """The file of all questions."""
    path = store.root.parent / "all.jsonl"
    gapbench.export_answers(store.root, path, data=store.root.parent / "data")
    return path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A folder whose answers two judges judged alike, and a third who likes what is first."""
    store = answered(tmp_path_factory.mktemp("told"))
    path = store.root.parent / "all.jsonl"
    gapbench.export_answers(store.root, path, data=store.root.parent / "data")
    first = [*judged(path, "one"), *judged(path, "two")]
    gapbench.import_judgements(store.root, write_lines(path.with_name("first.jsonl"), first))
    biased = judged(
        path,
        "three",
        lambda line: line | ({"score": 5} if "score" in line else {"preference": "A"}),
    )
    gapbench.import_judgements(store.root, write_lines(path.with_name("second.jsonl"), biased))
    return store


def test_file_asks_for_every_text_once_and_names_no_method(exported: Path) -> None:
    """Equal answers share a line; nothing but their texts tells lines apart."""
    lines = lines_of(exported)
    ratings = [line for line in lines if "score" in line]
    texts = {
        (item, text_of(method, seed, item))
        for method in METHODS
        for seed in range(SEEDS)
        for item in range(ITEMS)
    }
    assert {(line["item"], line["answer"]) for line in ratings} == texts
    assert len(ratings) == len(texts)
    assert len({line["id"] for line in lines}) == len(lines)
    for line in lines:
        shown = {name: value for name, value in line.items() if not name.startswith("answer")}
        assert not any(method in json.dumps(shown) for method in METHODS)
        assert line["references"] == [f"it is\u2028test {line['item']}"]
        assert line["prompt"] == f"test {line['item']} : red ||"
        assert line["judge"] is None


def test_pairs_are_with_the_reference_on_the_same_seed(exported: Path) -> None:
    """Every pair stands once, with the reference's answer in either place."""
    pairs = [line for line in lines_of(exported) if "preference" in line]
    wanted = {
        (item, frozenset({text_of("lora", seed, item), text_of(method, seed, item)}))
        for method in METHODS[1:]
        for seed in range(SEEDS)
        for item in range(ITEMS)
    }
    found = [(line["item"], frozenset({line["answer_a"], line["answer_b"]})) for line in pairs]
    assert sorted(map(str, found)) == sorted(map(str, set(found)))
    assert {*found} == wanted
    first = [re.search(r"lora\d", line["answer_a"]) is not None for line in pairs]
    assert 0.3 < np.mean(first) < 0.7


def test_choice_and_order_follow_from_the_seed(store: Store, tmp_path: Path) -> None:
    """The same seed asks the same of fewer methods; another one asks in another order."""

    def asked(name: str, **options: Any) -> list[Line]:
        path = tmp_path / name
        gapbench.export_answers(
            store.root, path, items=4, data=store.root.parent / "data", **options
        )
        return lines_of(path)

    whole, again, part = (
        asked("a"),
        asked("b"),
        asked("c", methods="lora_dropout", form="pairs"),
    )
    assert whole == again
    assert len({line["item"] for line in whole}) == 4
    ids = [line["id"] for line in whole]
    assert [each for each in ids if each in {line["id"] for line in part}] == [
        line["id"] for line in part
    ]
    assert all("preference" in line for line in part)
    other = asked("d", seed=1, form="ratings")
    assert {line["id"] for line in other} != {line["id"] for line in whole if "score" in line}


def test_means_are_over_judges_items_and_seeds(told: Store) -> None:
    """The table holds the numbers that follow from the texts by hand."""
    table = gapbench.load(told.root).judgements().set_index(["metric", "method"])
    for method in METHODS:
        well = [
            [count_well(text_of(method, seed, item)) for item in range(ITEMS)]
            for seed in range(SEEDS)
        ]
        row = table.loc["rating", method]
        assert row["score"] == pytest.approx((2 * (1 + 1.5 * np.mean(well)) + 5) / 3)
        assert (row["n_seeds"], row["n_items"], row["n_judges"]) == (SEEDS, ITEMS, 3)
        assert row["score_ci_low"] < row["score"] < row["score_ci_high"]
    rating = table.loc["rating"]["score"]
    row = table.loc["rating", "lora_dropout"]
    assert row["vs_reference"] == pytest.approx(rating["lora_dropout"] - rating["lora"])
    assert row["vs_reference_claim"] == "better"
    won = table.loc["win_rate"]
    assert {*won.index} == {*METHODS} - {"lora"}
    assert (won["vs_reference"] - (won["score"] - 0.5)).abs().max() < 1e-12
    assert won.loc["lora_dropout", "score"] > 0.6 > 0.4 > won.loc["head", "score"]


def test_records_stay_as_they_are(told: Store, store: Store) -> None:
    """An import adds a file and changes none."""
    before, after = (
        {each.relative_to(one.root): each.read_bytes() for each in (one.root / "runs").rglob("*.*")}
        for one in (store, told)
    )
    assert {path: before[path] for path in after if path.suffix == ".parquet"} == {
        path: content for path, content in after.items() if path.suffix == ".parquet"
    }
    assert len([*(told.root / "judgements").iterdir()]) == 2


def test_judges_are_told_apart(told: Store) -> None:
    """Who likes the first place is seen; agreement is that of all three."""
    table = gapbench.load(told.root).judges().set_index(["metric", "judge"])
    biased, fair = table.loc["win_rate", "three"], table.loc["win_rate", "one"]
    assert biased["first_share"] == 1
    assert biased["first_ci_low"] > 0.5
    assert fair["first_ci_low"] < 0.5 < fair["first_ci_high"]
    assert fair["tie_share"] > 0
    assert table.loc["rating", "three"]["mean"] == 5
    assert (table["n_judges"] == 3).all()
    assert table["alpha"].between(-1, 0.99).all()


def test_report_terminal_and_json_show_them(told: Store, store: Store, tmp_path: Path) -> None:
    """Page, files, text and JSON hold the judgements; without any, nothing of them."""
    built = build(told.root, tmp_path)
    page = built.report.read_text(encoding="utf-8")
    assert "What judges say" in page
    assert "Krippendorff" in page
    assert built.judgements is not None
    assert built.judgements in built.paths
    meanings = json.loads(built.columns.read_text())
    assert meanings["judges.csv"]["first_share"]["unit"] == "share"
    text = terminal(told.root)
    assert "rated 1 to 10: 3 judges, 12 items" in text
    assert max(map(len, text.splitlines())) <= 80
    content = json.loads(terminal(told.root, form="json"))
    assert len(content["judgements"]) == 5
    assert len(content["judges"]) == 6
    assert json.loads(terminal(store.root, form="json"))["judges"] == []
    assert "rated" not in terminal(store.root)
    assert gapbench.load(store.root).judgements().empty


def test_judgements_are_packed_with_the_records(told: Store, tmp_path: Path) -> None:
    """A submission holds them, and its manifest names them."""
    out = tmp_path / "packed"
    manifest = pack(told, out).manifest
    assert sum(name.startswith("judgements/") for name in manifest.files) == 2
    assert check(out) == manifest
    assert len(gapbench.load(out).judgements()) == 5


def test_an_item_counts_only_if_the_same_judges_judged_it_everywhere(tmp_path: Path) -> None:
    """A judge who saw some answers of an item alone moves no score."""
    store = answered(tmp_path)
    path = tmp_path / "all.jsonl"
    gapbench.export_answers(store.root, path, data=tmp_path / "data", form="ratings")
    lines = judged(path, "one")
    extra = [line | {"judge": "two", "score": 10} for line in lines if line["item"] == 3][:2]
    gapbench.import_judgements(store.root, write_lines(tmp_path / "in.jsonl", [*lines, *extra]))
    table = gapbench.load(store.root).judgements()
    assert {*table["n_items"]} == {ITEMS - 1}
    assert {*table["metric"]} == {"rating"}


def test_import_again_adds_nothing(told: Store) -> None:
    """The same file is known; another verdict of the same judge is refused."""
    path = told.root.parent / "first.jsonl"
    again = gapbench.import_judgements(told.root, path)
    assert (again.added, again.path) == (0, None)
    assert again.known == len(lines_of(path))
    line = next(line for line in lines_of(path) if "score" in line) | {"score": 9.5}
    other = write_lines(path.with_name("other.jsonl"), [line])
    with pytest.raises(
        DataError, match=r"other.jsonl, line 1: judge 'one' says 9.5 of .* in an ea"
    ):
        gapbench.import_judgements(told.root, other)


WRONG = {
    "text": ("no JSON", "line 1: not a JSON object: .*; every line is one judgement"),
    "list": ("[1]", r"line 1: expected a mapping of fields, got \[1\]"),
    "field": ({"value": 3}, "line 1: unknown field 'value'; allowed: id, judge, preference, score"),
    "judge": ({"judge": None}, "line 1: field 'judge': is empty; .* remove lines .*; got None"),
    "high": ({"score": 11}, "line 1: field 'score': .* less than or equal to 10; got 11"),
    "word": ({"score": "7"}, "line 1: field 'score': .* valid number; got '7'"),
    "truth": ({"score": True}, "line 1: field 'score': .*; got True"),
    "nothing": ({"score": None}, "field 'score' is empty, but .* allowed: 1 to 10; remove"),
    "both": ({"preference": "A"}, "field 'preference' does not go with 'score'; leave it out"),
    "form": ({"id": "x"}, "field 'id': should be as in .*; got 'x'"),
    "stray": ({"id": "0" * 16}, "'0000000000000000' is the code of no answer in .*; give the fold"),
}


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(store: Store, exported: Path, change: Any, says: str) -> None:
    """File, line, field, value and the way out; nothing is stored."""
    good = next(line for line in judged(exported, "one") if "score" in line)
    path = exported.with_name("wrong.jsonl")
    path.write_text(f"{change if isinstance(change, str) else json.dumps(good | change)}\n")
    with pytest.raises(DataError, match=rf"wrong\.jsonl, .*{says}"):
        gapbench.import_judgements(store.root, path)
    assert not (store.root / "judgements").exists()


def test_pairs_need_a_preference_of_one_row(store: Store, exported: Path) -> None:
    """A pair takes A, B or tie, and two answers to one prompt."""
    pairs = [line for line in judged(exported, "one") if "preference" in line]
    path = exported.with_name("wrong.jsonl")
    write_lines(path, [pairs[0] | {"preference": "C"}])
    with pytest.raises(DataError, match=r"field 'preference': Input should be 'A', 'B' or 'tie'"):
        gapbench.import_judgements(store.root, path)
    other = next(line for line in pairs if line["item"] != pairs[0]["item"])
    mixed = f"{pairs[0]['id'][:16]}-{other['id'][:16]}"
    write_lines(path, [pairs[0] | {"id": mixed}])
    with pytest.raises(DataError, match=r"pairs answers to row \d+ of tell and row \d+ of tell"):
        gapbench.import_judgements(store.root, path)
    write_lines(path, [pairs[0], pairs[0] | {"preference": "tie"}, *[{**pairs[0]}]][1:])
    with pytest.raises(DataError, match=r"line 2: judge 'one' says .* in line 1; keep one"):
        gapbench.import_judgements(store.root, path)
    path.write_text("\n")
    with pytest.raises(DataError, match="holds no judgement"):
        gapbench.import_judgements(store.root, path)


def test_export_needs_answers_their_rows_and_a_new_file(store: Store, tmp_path: Path) -> None:
    """A file is not written over, other rows are not shown, and without answers there is none."""
    data = store.root.parent / "data"
    with pytest.raises(StoreError, match="exists already, and may hold judgements"):
        gapbench.export_answers(store.root, store.root.parent, data=data)
    other = answered(tmp_path / "other")
    rows = tmp_path / "other" / "data" / "tell" / "test.parquet"
    rows.write_bytes((data / "tell" / "train.parquet").read_bytes())
    with pytest.raises(RecordError, match="differ from those that were answered"):
        gapbench.export_answers(other.root, tmp_path / "a.jsonl", data=rows.parents[1])
    with pytest.raises(StoreError, match=r"there are no pairs, .* name another with --reference"):
        gapbench.export_answers(
            store.root, tmp_path / "a.jsonl", data=data, methods="lora", form="pairs"
        )
    silent = fill(tmp_path / "silent", methods=("lora",))
    with pytest.raises(StoreError, match=r"holds no answers; .* 'instruction.decoding'"):
        gapbench.export_answers(silent.root, tmp_path / "a.jsonl")


def test_commands_say_what_they_did(tmp_path: Path, capsys: Capture) -> None:
    """Counts, and the next command."""
    folder = tmp_path / "a folder"
    store = answered(folder)
    path = tmp_path / "answers.jsonl"
    flags = ("--data", folder / "data", "--items", "3", "--form", "ratings")
    answer = call(capsys, "export-answers", store.root, "--to", path, *flags)
    assert (answer.code, answer.err) == (0, "")
    count = len(lines_of(path))
    assert f"{count} answers to rate and 0 pairs to choose from, on 3 rows" in answer.out
    told = shlex.split(answer.out.splitlines()[-1].partition("with: ")[2])
    assert told == ["gapbench", "import-judgements", str(store.root), "FILE"]
    write_lines(path, judged(path, "me"))
    answer = call(capsys, "import-judgements", store.root, path)
    assert answer.out == f"{count} judgements of me added\n"
    assert call(capsys, "leaderboard", store.root).out.count("rated 1 to 10: 1 judge,") == 1
