"""METEOR's own program is asked as it expects, and its absence is told instead of a score."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gapbench.bench.core.errors import DataError
from gapbench.bench.metrics.base import compute, get
from gapbench.bench.metrics.text.meteor import JAR_VARIABLE, meteor, unsupported_reason

SYSTEM = "train-orig_test-orig_tgen-std.run0"


@pytest.fixture
def fake_meteor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a program in Java's place which speaks METEOR's protocol."""

    def install(body: str) -> None:
        (tmp_path / "meteor-1.5.jar").touch()
        java = tmp_path / "java"
        java.write_text(f"#!{sys.executable}\nimport sys\n{body}\n", encoding="utf-8")
        java.chmod(java.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv(JAR_VARIABLE, str(tmp_path / "meteor-1.5.jar"))

    return install


def test_meteor_sends_references_first_and_reads_the_corpus_score(
    fake_meteor: Callable[[str], None],
) -> None:
    """The program gets words, references before output, and its last answer is the score.

    Its counts are summed without each example, whose scores then tell what the example adds.
    """
    fake_meteor(
        "counts = {'it is ||| a pub ||| a cafe': '6 8', 'b ||| c': '2 1'}\n"
        "for line in sys.stdin:\n"
        "    kind, _, rest = line.strip('\\n').partition(' ||| ')\n"
        "    if kind == 'SCORE':\n"
        "        print(counts[rest], flush=True)\n"
        "        continue\n"
        "    each = [tuple(map(float, part.split())) for part in rest.split(' ||| ')]\n"
        "    for a, b in [*each, map(sum, zip(*each))]: print(a / (a + b), flush=True)\n"
    )
    texts = ["A cafe.", "c"], [["It is", "a pub!"], ["b"]]
    assert meteor(*texts) == 8 / 17
    values = get("meteor").pseudovalues(*texts)
    assert values is not None
    assert values.mean() == pytest.approx(8 / 17)
    assert values[1] - values[0] == pytest.approx(2 / 3 - 6 / 14)


@pytest.mark.parametrize("program", ["input()", "", "import os; os.close(0); input()"])
def test_meteor_program_that_stops_raises(fake_meteor: Callable[[str], None], program: str) -> None:
    """A program that ends without an answer is an error, and no score."""
    fake_meteor(program)
    with pytest.raises(DataError, match="stopped without an answer"):
        meteor(["a"] * 50, [["a"] * 999] * 50)


def test_meteor_without_java_or_program_is_none_with_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_meteor: Callable[[str], None]
) -> None:
    """Without Java, or without the program, there is no score, and the reason says what to do."""
    fake_meteor("")
    monkeypatch.setenv(JAR_VARIABLE, str(tmp_path / "absent.jar"))
    assert compute(["meteor"], {"texts": (["a"], [["a"]])}) == {"meteor": None}
    assert "gapbench[meteor]" in str(unsupported_reason())
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert compute(["meteor"], {"texts": (["a"], [["a"]])}) == {"meteor": None}
    assert "Java" in str(unsupported_reason())


@pytest.mark.slow
def test_meteor_real_outputs_equals_official_score(shared_folder: Path) -> None:
    """Where the original program can run, METEOR is the official score of E2E outputs."""
    folder = shared_folder / "data" / "e2e_metrics_golden"
    if not folder.is_dir():
        pytest.skip(f"no official scores in {folder}")
    if reason := unsupported_reason():
        pytest.skip(reason)
    outputs = pd.read_parquet(folder / "system_outputs.parquet")[SYSTEM].tolist()
    references = [*map(list, pd.read_parquet(folder / "references.parquet")["references"])]
    score = json.loads((folder / "scores.json").read_text(encoding="utf-8"))[SYSTEM]["METEOR"]
    assert meteor(outputs, references) == pytest.approx(score, abs=0.5001e-4)
