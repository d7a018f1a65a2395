"""What `gapbench init` shows of a file of rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gapbench.bench.experiment.first_look import lines
from tests.support.small_suite import call, rows

TEXTS = rows("train")["sentence"]


def look(**changed: Any) -> list[str]:
    """Return what is said of forty rows, of which the one with number 7 has other values."""
    table = {"text": list(TEXTS), "label": ["pos", "neg"] * (len(TEXTS) // 2)}
    for name, value in changed.items():
        table[name][7] = value
    return lines(Path("rows.csv"), table, ["text"], "label").splitlines()


def test_rows_columns_and_classes_are_shown() -> None:
    """Counts, names and the first rows tell at a glance whether a file was read as meant."""
    first, *others = look()
    assert first == "rows.csv: 40 rows with columns text, label"
    assert others[0] == f"  row 0: text {TEXTS[0]!r}, label 'pos'"
    assert others[3:] == ["  classes: pos 20, neg 20"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n".join(TEXTS), "1 text far longer than the others"),
        (f"{TEXTS[0]}\t1", "1 text with a tab inside, as in row 7"),
        (f"{TEXTS[0]},1\n{TEXTS[1]}", "1 text with a line break inside, as in row 7"),
        (" ", "1 text without any text"),
        (None, "1 text without any text"),
        ("caf\ufffd", "1 text with characters of a wrong encoding"),
        ("quoted \x93word\x94", "1 text with characters of a wrong encoding"),
        ("na\u00c3\u00afve", "1 text with characters of a wrong encoding"),
        ("it\u00e2\u20ac\u2122s", "1 text with characters of a wrong encoding"),
    ],
)
def test_text_unlike_the_others_is_named(text: str | None, said: str) -> None:
    """Merged rows, unsplit rows and another encoding show as texts that stand out."""
    assert any(said in line for line in look(text=text))


@pytest.mark.parametrize("name", ["POS", "p\u200bos", "\uff50os", "pos\u00a0"])
def test_classes_that_look_alike_are_named(name: str) -> None:
    """A typing error makes a class of its own; blanks around a name alone do not."""
    said = [line for line in look(label=name) if "odd" in line]
    assert len(said) == 1
    assert ("look alike" in said[0]) != name.startswith("pos")


@pytest.mark.parametrize(("name", "odd"), [("NaN", True), ("None", True), ("nano", False)])
def test_class_that_programs_write_for_a_missing_value_is_named(name: str, odd: bool) -> None:
    """In a column of names it is a name, and only the user knows whether it is one."""
    said = [line for line in look(label=name) if "is how programs write a missing value" in line]
    assert said == (
        [
            f"  odd: label {name!r}, of 1 row, is how programs write a missing value; it counts as "
            "any other here, so remove these rows if they have no label"
        ]
        if odd
        else []
    )


def test_missing_value_is_named_among_many_classes() -> None:
    """Too many to be listed."""
    labels = [*(f"class {n}" for n in range(20)), "NaN"]
    table = {"text": ["a text"] * len(labels), "label": labels}
    assert "odd: label 'NaN', of 1 row," in lines(Path("rows.csv"), table, ["text"], "label")


@pytest.mark.parametrize("codes", [["1.10", "1.1"], ["1_0", "10"], ["1E1", "10"]])
def test_codes_that_are_no_whole_numbers_are_not_alike(codes: list[str]) -> None:
    """Sections and products are numbered like this."""
    table = {"text": ["a text"] * 2, "label": codes}
    assert "alike" not in lines(Path("rows.csv"), table, ["text"], "label")


def test_bools_and_numbers_look_alike() -> None:
    """A column of 1, true and 0 is one of bools that two programs wrote."""
    table = {"text": TEXTS, "label": ["1", "true", "0", "0"] * (len(TEXTS) // 4)}
    assert "  odd: classes '1', 'true' look alike, and stay 2 classes; make them equal" in lines(
        Path("rows.csv"), table, ["text"], "label"
    )


@pytest.mark.parametrize("names", [("-1", "1"), ("C-", "C", "C+"), ("a -1", "a 1")])
def test_signs_are_no_blanks(names: tuple[str, ...]) -> None:
    """Opposite classes are not called one by another spelling."""
    table = {"text": TEXTS, "label": [names[k % len(names)] for k in range(len(TEXTS))]}
    assert not any("look alike" in line for line in lines(Path("a.csv"), table, ["text"], "label"))


@pytest.mark.parametrize(("scale", "is_far"), [(1.0, False), (1e5, True)])
def test_values_far_from_unit_size_are_named(scale: float, is_far: bool) -> None:
    """A new head does not reach them; it is said in which unit they are learned."""
    table = {"text": TEXTS, "label": [scale * (1 + k / 7) for k in range(len(TEXTS))]}
    unit = "models learn them from there in that unit"
    assert unit not in lines(Path("a.csv"), table, ["text"], "label")  # they may be classes
    said = lines(Path("a.csv"), table, ["text"], "label", values=True)
    assert (unit in said) == is_far


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        (TEXTS[2], "neg", ["1 row has the texts of an earlier row but another label, as row 7 "]),
        (f" {TEXTS[2]} ", "neg", ["1 row has the texts of an earlier row but another label"]),
        (TEXTS[2], "pos", []),
        (TEXTS[2].upper(), "neg", []),
    ],
)
def test_equal_texts_with_other_labels_are_named(text: str, label: str, said: list[str]) -> None:
    """They bound what any model can reach; a row that is repeated as it is contradicts nothing."""
    found = [line for line in look(text=text, label=label) if "another label" in line]
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_header_in_the_middle_is_named() -> None:
    """Files that were joined hold the names of the columns as a row."""
    assert "  odd: row 7 repeats the names of the columns; remove such rows" in look(label="label")


def test_lists_are_looked_at_as_the_texts_that_they_become() -> None:
    """Triples of a record are no empty text, and letters with marks are no wrong encoding."""
    assert not any(
        "odd" in line for line in look(text=[["cat", "sees", "dog"], ["dog", "is", "à"]])
    )
    assert not any("odd" in line for line in look(text="Âme, pão, NÃO"))


def test_texts_of_natural_lengths_are_not_odd() -> None:
    """Lengths of documents spread over decades; their longest are no mistake."""
    lengths = np.exp(np.random.default_rng(0).normal(5.0, 0.8, 5000)).astype(int)
    table = {"text": ["x" * n for n in lengths], "label": ["ab"[n % 2] for n in lengths]}
    assert "odd" not in lines(Path("rows.csv"), table, ["text"], "label")


def test_blanks_around_a_class_do_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` finds two classes, says so, and `check` names the class that test lacks."""
    labels = ["pos", "neg", "pos ", " neg"] * (len(TEXTS) // 4)
    pd.DataFrame({"text": TEXTS, "label": labels}).to_csv(tmp_path / "rows.csv", index=False)
    pd.DataFrame({"text": ["a cat"] * 4, "label": ["pos "] * 4}).to_csv(
        tmp_path / "test.csv", index=False
    )
    files = ("--data", tmp_path / "rows.csv", "--test", tmp_path / "test.csv")
    answer = call(
        capsys, "init", tmp_path / "mine.yaml", *files, "--text", "text", "--label", "label"
    )
    assert "20 labels have blanks around them" in answer.out
    assert "labels: [neg, pos]" in (tmp_path / "tasks" / "mine.yaml").read_text()
    checked = call(capsys, "check", tmp_path / "mine.yaml", "--methods", "lora")
    assert checked.code == 0
    assert "test has no example of class neg, so its scores say nothing of it" in checked.err
