"""Files of claims: the schema, the project's usual errors, the command, and the section."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import gapbench
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.store.store import Store
from gapbench.reports.claims.model import load
from gapbench.reports.render.report import gather
from gapbench.reports.results.selection import Selection
from gapbench.reports.sections import claims as section
from tests.support.known_truth import write
from tests.support.results_folder import make_task
from tests.support.small_suite import call

CLAIM: dict[str, Any] = {
    "id": "made_up",
    "text": "Dora is better.",
    "source": "nobody",
    "place": "nowhere",
    "certainty": "read",
    "first": "dora",
    "second": "lora",
    "expected": "better",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two tasks on which dora is better than lora."""
    root = tmp_path_factory.mktemp("claims")
    for draw, name in enumerate(("syn_sentiment", "rte")):
        write(root, {"lora": 2.0, "hiddenkey": 2.8}, task=make_task(name), draw=draw)
    return Store(root)


def written(folder: Path, *claims: dict[str, Any]) -> Path:
    """Write a file of claims."""
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": list(claims)}))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"expected": "best"}, "field 'claims.0.expected'"),
        ({"expected": "alike"}, "'margin' goes with 'expected: alike'"),
        ({"margin": 0.1}, "'margin' goes with 'expected: alike'"),
        ({"second": "dora"}, "'first' and 'second' are the same"),
        ({"sauce": "x"}, "unknown field 'claims.0.sauce'; allowed: .*did you mean 'source'"),
        ({"first": {"method": "dora", "budget": {"epoch": 3}}}, "did you mean 'epochs'"),
        ({"text": None}, "field 'claims.0.text'"),
    ],
)
def test_invalid_claim_is_refused_by_its_field(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """As in every file of gapbench."""
    with pytest.raises(ConfigError, match=said) as caught:
        load(written(tmp_path, CLAIM | change))
    assert str(tmp_path / "claims.yaml") in str(caught.value)


def test_equal_ids_and_other_files_are_refused(tmp_path: Path) -> None:
    """With what is expected."""
    with pytest.raises(ConfigError, match="ids must differ: made_up"):
        load(written(tmp_path, CLAIM, CLAIM))
    path = tmp_path / "list.yaml"
    path.write_text("- a")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_command_prints_claims_or_json(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is shown comes first; untested claims say what is missing."""
    answer = call(capsys, "claims", store.root)
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == "hiddenkey_beats_lora: shown"
    assert all(len(line) <= 80 for line in lines)
    assert "Of 39 published claims, these runs can test 1: 1 shown" in answer.out
    assert "Missing: no run of dropkey." in answer.out
    mine = written(tmp_path, CLAIM | {"first": "hiddenkey", "expected": "worse"})
    made = call(capsys, "claims", store.root, "--claims", mine, "--json").json
    assert [(each["id"], each["ruling"]) for each in made] == [("made_up", "contradicted")]
    assert made[0]["low"] > 0
    assert made[0]["confidence"] == pytest.approx(0.95)


def test_results_judge_claims_in_python(store: Store) -> None:
    """As an object with a table, by the ids of claims."""
    found = gapbench.load(store.root).claims()
    assert found["hiddenkey_beats_lora"].ruling == "shown"
    with pytest.raises(KeyError):
        _ = found["nobody_claims_this"]
    assert found.table.set_index("id").loc["hiddenkey_beats_lora", "difference"] > 0
    assert "hiddenkey_beats_lora" in found._repr_html_()


def test_section_is_there_where_a_claim_can_be_tested(store: Store, tmp_path: Path) -> None:
    """Of the whole folder; elsewhere and of a part there is none."""
    shown = section.section(gather(store.root))
    assert shown is not None
    assert [part.__class__.__name__ for part in shown.parts] == ["Text", "Table", "Text", "Folded"]
    assert section.section(gather(store.root, Selection(task=("rte",)))) is None
    other = write(tmp_path, {"lora": 2.0, "bitfit": 2.0})
    assert section.section(gather(other.root)) is None
