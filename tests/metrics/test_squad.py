"""Exact match and F1 of spans behave as the official scripts of both versions of SQuAD."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torchmetrics.functional.text import squad

from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.metrics import squad as squad_metrics

VERSIONS: tuple[squad_metrics.Version, ...] = ("1.1", "2.0")
WORDS = ("The", "a", "Blue", "blue.", "spice", "Spice,", "an", "pub-like", "1,000", "é")


def answers(seed: int, n: int = 60) -> tuple[list[str], list[list[str]]]:
    """Draw short answers of few words, each with one to three accepted ones, none of them empty."""
    rng = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(["tea", *rng.choice(WORDS, size=rng.integers(0, 4))])

    return [text() for _ in range(n)], [[text() for _ in range(1 + i % 3)] for i in range(n)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_span_metrics_random_answers_agree_with_torchmetrics(
    seed: int, version: squad_metrics.Version
) -> None:
    """Where no answer is empty both versions are torchmetrics' percentages."""
    predictions, references = answers(seed)
    said: Any = [{"prediction_text": text, "id": str(i)} for i, text in enumerate(predictions)]
    true: Any = [
        {"answers": {"answer_start": [0] * len(texts), "text": texts}, "id": str(i)}
        for i, texts in enumerate(references)
    ]
    expected = squad(said, true)
    match = squad_metrics.exact_match(predictions, references, version)
    assert match == pytest.approx(expected["exact_match"].item() / 100, abs=1e-6)
    f1 = squad_metrics.f1(predictions, references, version)
    assert f1 == pytest.approx(expected["f1"].item() / 100, abs=1e-6)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The  Blue-Spice, a PUB!", "bluespice pub"),
        ("theatre anna Atheneum", "theatre anna atheneum"),
        ("£20 “é”", "£20 “é”"),
        ("a.", ""),
        ("an\tthe\n", ""),
    ],
)
def test_normalised_answer_drops_case_articles_and_ascii_punctuation(
    answer: str, expected: str
) -> None:
    """Articles go as whole words, punctuation without a space in its place, other signs stay."""
    assert squad_metrics.normalised(answer) == expected


def test_f1_shared_words_equal_hand_count() -> None:
    """Two shared words of three and four give 4/7, the better of two accepted answers."""
    references = [["nothing", "the red house on hills", "red"]]
    assert squad_metrics.f1(["red house today"], references, "1.1") == pytest.approx(4 / 7)
    repeated = squad_metrics.f1(["red red red"], [["red red"]], "2.0")
    assert repeated == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("prediction", "accepted", "version", "match", "f1"),
    [
        ("", [], "2.0", 1, 1),
        ("the", [], "2.0", 1, 1),
        ("tea", [], "2.0", 0, 0),
        ("", ["tea"], "2.0", 0, 0),
        ("", ["the", "tea"], "2.0", 0, 0),
        ("", ["the"], "2.0", 1, 1),
        ("", ["the"], "1.1", 1, 0),
        ("", ["the", "tea"], "1.1", 1, 0),
        ("", ["tea"], "1.1", 0, 0),
    ],
)
def test_span_metrics_empty_answers_follow_their_version(
    prediction: str, accepted: list[str], version: squad_metrics.Version, match: int, f1: int
) -> None:
    """Two empty sides match; only 2.0 gives them an F1, and only 2.0 drops empty accepted ones."""
    assert squad_metrics.exact_match([prediction], [accepted], version) == match
    assert squad_metrics.f1([prediction], [accepted], version) == f1


def test_span_metrics_several_questions_are_averaged() -> None:
    """One right, one half right and one wrong answer average over questions, in any order."""
    predictions, references = ["tea", "green tea", "milk"], [["tea"], ["tea leaf"], ["tea"]]
    assert squad_metrics.exact_match(predictions, references, "1.1") == pytest.approx(1 / 3)
    assert squad_metrics.f1(predictions, references, "1.1") == pytest.approx(1.5 / 3)
    assert squad_metrics.f1(predictions[::-1], references[::-1], "1.1") == pytest.approx(1.5 / 3)


@pytest.mark.parametrize("metric", [squad_metrics.exact_match, squad_metrics.f1])
@pytest.mark.parametrize(
    ("predictions", "references", "version", "error", "message"),
    [
        ([], [], "1.1", DataError, "0 predictions"),
        (["a"], [["a"], ["b"]], "2.0", DataError, "1 predictions and the answers of 2"),
        (["a"], ["tea"], "2.0", DataError, "single text 'tea'"),
        (["a", "b"], [["a"], []], "1.1", DataError, "question 1 has no answer.*'2.0'"),
        (["a"], [["a"]], "2", ConfigError, "'2' is unknown.*'1.1', '2.0'"),
    ],
)
def test_span_metrics_wrong_inputs_raise(
    metric: Any,
    predictions: list[str],
    references: Any,
    version: Any,
    error: type[Exception],
    message: str,
) -> None:
    """Unpaired inputs, a missing answer and an unknown version are refused with the way out."""
    with pytest.raises(error, match=message):
        metric(predictions, references, version)
