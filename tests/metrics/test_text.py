"""Metrics of generated text give the official scripts' numbers, and hand-worked ones."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sacrebleu
from sacrebleu.metrics.lib_ter import BeamEditDistance

from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.metrics.base import compute, discover, get
from gapbench.bench.metrics.evaluate_module import as_evaluate
from gapbench.bench.metrics.text.bleu_nist import bleu, nist
from gapbench.bench.metrics.text.distance import WordDistance
from gapbench.bench.metrics.text.rouge_cider import cider, rouge_l
from gapbench.bench.metrics.text.ter_chrf import chrf, ter
from gapbench.bench.metrics.text.tokenizer import words

Corpus = tuple[list[str], list[list[str]]]

SEEDS = (0, 1, 2)
NAMES = tuple(name for name, metric in discover().items() if metric.measures == "texts")
COMPUTED = tuple(name for name in NAMES if name != "meteor")
SYSTEMS = (
    "train-orig_test-orig_tgen-std.run0",
    "train-orig_test-orig_sclstm.run0",
    "train-orig_test-orig_tgen-plus.run0",
    "train-clean_test-orig_tgen-minus.run1",
)


def corpus(seed: int, n: int = 12) -> Corpus:
    """Draw sentences of few words, so that they share much, with one to four references each."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["the", "a", "pub", "near", "river,", "and", "Family-friendly", "3.5"])

    def sentence() -> str:
        return " ".join(rng.choice(vocabulary, size=rng.integers(4, 14))) + "."

    references = [[sentence() for _ in range(rng.integers(1, 5))] for _ in range(n)]
    # Half of the outputs copy the better part of a reference, so that long n-grams match too.
    outputs = [
        each[0].split(" ", 2)[-1] if rng.random() < 0.5 else sentence() for each in references
    ]
    return outputs, references


def columns(references: list[list[str]]) -> list[list[str | None]]:
    """Turn references by example into sacrebleu's lists by number."""
    most = max(map(len, references))
    return [[each[i] if i < len(each) else None for each in references] for i in range(most)]


@pytest.fixture(scope="module")
def golden(shared_folder: Path) -> tuple[pd.DataFrame, list[list[str]], dict[str, Any]]:
    """Outputs of real systems for E2E, the references, and the official scripts' scores."""
    folder = shared_folder / "data" / "e2e_metrics_golden"
    if not folder.is_dir():
        pytest.skip(f"no official scores in {folder}")
    outputs = pd.read_parquet(folder / "system_outputs.parquet")
    references = pd.read_parquet(folder / "references.parquet")["references"]
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return outputs, [list(each) for each in references], scores


@pytest.mark.parametrize(
    ("name", "key"),
    [("bleu", "BLEU"), ("nist", "NIST"), ("rouge_l", "ROUGE_L"), ("cider", "CIDEr")],
)
@pytest.mark.parametrize("system", SYSTEMS)
def test_metric_real_outputs_equals_official_score(
    golden: tuple[pd.DataFrame, list[list[str]], dict[str, Any]], system: str, name: str, key: str
) -> None:
    """On real outputs for E2E the scores are the official scripts', to the four digits given."""
    outputs, references, scores = golden
    value = get(name).function(outputs[system].tolist(), references)
    assert value == pytest.approx(scores[system][key], abs=0.5001e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_library_metrics_random_corpora_agree_with_sacrebleu(seed: int) -> None:
    """BLEU without case, TER and chrF are sacrebleu's, for any numbers of references."""
    outputs, references = corpus(seed)
    by_number: Any = columns(references)
    official = sacrebleu.corpus_bleu(outputs, by_number, lowercase=True)
    assert bleu(outputs, references) == pytest.approx(official.score / 100, abs=1e-12)
    official = sacrebleu.corpus_ter(outputs, by_number)
    assert ter(outputs, references) == pytest.approx(official.score / 100, abs=1e-12)
    official = sacrebleu.corpus_chrf(outputs, by_number)
    assert chrf(outputs, references) == pytest.approx(official.score / 100, abs=1e-12)


def test_bleu_one_wrong_word_equals_hand_count() -> None:
    """BLEU is the geometric mean of 4/5, 3/4, 2/3 and 1/2."""
    assert bleu(["a b c d e"], [["a b c d f"]]) == pytest.approx(0.2**0.25)


@pytest.mark.parametrize(
    ("lengths", "penalty"), [((4, 6), 1.0), ((6, 4), 1.0), ((6,), math.exp(1 - 6 / 5))]
)
def test_bleu_short_output_is_held_to_the_closest_reference(
    lengths: tuple[int, ...], penalty: float
) -> None:
    """The brevity penalty takes the closest length, and of two as close the shorter."""
    references = [" ".join("abcdefg"[:length]) for length in lengths]
    assert bleu(["a b c d e"], [references]) == pytest.approx(penalty)


def test_bleu_orders_without_match_are_halved_each_time() -> None:
    """No trigram and no 4-gram in common count as 1/2 and 1/4 of a match."""
    score = bleu(["a b x c d"], [["a b y c d"]])
    assert score == pytest.approx((4 / 5 * 2 / 4 * (1 / 2) / 3 * (1 / 4) / 2) ** 0.25)


def test_bleu_corpus_too_short_for_four_words_ignores_longer_orders() -> None:
    """As in mteval, two words that equal their reference score 1."""
    assert bleu(["a b"], [["a b"]]) == 1.0


def test_bleu_case_of_ascii_letters_alone_is_ignored() -> None:
    """As in mteval, capitals match small letters, but not those with accents."""
    assert bleu(["A B C D"], [["a b c d"]]) == 1.0
    assert bleu(["É b c d"], [["é b c d"]]) < 1.0


def test_nist_two_thirds_of_the_words_halve_the_score() -> None:
    """Two of three different words carry log2(3) bits each, and the short output loses half."""
    assert nist(["a b"], [["a b c"]]) == pytest.approx(0.5 * math.log2(3))


def test_nist_uneven_references_average_length_over_all_of_them() -> None:
    """The length of a reference is the mean over references, and not over examples first."""
    outputs, references = ["a a a a", "b b"], [["a a a a"] * 3, ["b b"]]
    bits = (
        (4 * math.log2(14 / 12) + 2 * math.log2(14 / 2)) / 6
        + (3 * math.log2(12 / 9) + math.log2(2 / 1)) / 4
        + 2 * math.log2(9 / 6) / 2
        + math.log2(6 / 3) / 1
    )
    penalty = math.exp(math.log(0.5) * (math.log(6 / 7) / math.log(1.5)) ** 2)
    assert nist(outputs, references) == pytest.approx(bits * penalty)


def test_nist_word_after_zero_counts_as_first_word() -> None:
    """As in mteval, the context "0" passes for no context at all."""
    unigrams, bigrams = (2 * 1 + 2 + 2) / 4, (2 + 0 + 2) / 3
    assert nist(["0 x 0 y"], [["0 x 0 y"]]) == pytest.approx(unigrams + bigrams)


def test_rouge_l_mixes_best_precision_and_best_recall() -> None:
    """Precision 1 of a long reference meets recall 1 of a short one, and the score is 1."""
    assert rouge_l(["b c d"], [["a b c d e", "b c"]]) == pytest.approx(1.0)
    precision, recall = 2 / 3, 2 / 5
    expected = 2.44 * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(["b d c"], [["a b c d e"]]) == pytest.approx(expected)


def test_rouge_l_text_of_punctuation_alone_is_one_empty_word() -> None:
    """Output without words scores 1 beside a reference without words and 0 beside others."""
    assert rouge_l([""], [["?"]]) == 1.0
    assert rouge_l([""], [["a"]]) == 0.0
    assert rouge_l(["a", "a"], [["?"], ["a"]]) == 0.5


def test_cider_repeated_words_equal_hand_count() -> None:
    """Counts are clipped to the reference's and a surplus of two bigrams is penalised."""
    outputs, references = ["a b a b", "c d e f g"], [["a b"], ["c d e f g"]]
    clipped = (2 / (math.sqrt(8) * math.sqrt(2)) + 1 / math.sqrt(5)) / 4
    first = 10 * clipped * math.exp(-(2**2) / (2 * 6**2))
    assert cider(outputs, references) == pytest.approx((first + 10) / 2)


def test_cider_single_example_is_zero() -> None:
    """Every n-gram occurs in all examples where there is one, and so weighs nothing."""
    assert cider(["a b c d"], [["a b c d"]]) == 0.0


@pytest.mark.parametrize("name", [n for n in COMPUTED if not n.startswith("final_number")])
def test_metric_perfect_outputs_reach_the_best_end(name: str) -> None:
    """Outputs equal to their only reference score best, and no others as well.

    Where numbers are compared, these texts have none.
    """
    outputs, references = corpus(3)
    metric = get(name)
    best = metric.function([each[0] for each in references], [each[:1] for each in references])
    other = metric.function(outputs, [each[:1] for each in references])
    assert best is not None
    assert other is not None
    if name != "nist":
        end = metric.range[1] if metric.higher_is_better else metric.range[0]
        assert best == pytest.approx(end, abs=1e-9)
    assert best > other if metric.higher_is_better else best < other


@pytest.mark.parametrize("name", COMPUTED)
def test_metric_order_of_examples_and_references_does_not_matter(name: str) -> None:
    """Shuffled examples with reversed references, some of them blank, score the same."""
    outputs, references = corpus(4)
    order = np.random.default_rng(0).permutation(len(outputs))
    shuffled = [outputs[i] for i in order]
    reversed_references = [["", *references[i][::-1], " "] for i in order]
    function = get(name).function
    assert function(shuffled, reversed_references) == pytest.approx(
        function(outputs, references), abs=1e-12
    )


@pytest.mark.parametrize("name", COMPUTED)
def test_metric_empty_outputs_score_worst(name: str) -> None:
    """Outputs without a character score 0, and 1 in edits a word."""
    expected = 1.0 if name == "ter" else 0.0
    assert get(name).function(["", ""], [["a b c"], ["d e"]]) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("outputs", "references", "message"),
    [
        ([], [], "0 hypotheses and references for 0"),
        (["a"], [["a"], ["b"]], "1 hypotheses and references for 2"),
        (["a", "b"], [["a"], []], "example 1 has 0 references"),
        (["a"], [["", " "]], "example 0 has 2 references, but none"),
        (["a"], ["a"], "single text 'a'"),
    ],
)
def test_metric_wrong_inputs_raise(
    name: str, outputs: list[str], references: Any, message: str
) -> None:
    """No example, different lengths and missing references are refused with the place named."""
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        get(name).function(outputs, references)


# What the Stanford tokeniser 3.4.1 prints for each, less the punctuation that coco-caption drops.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It isn't a kid-friendly, cheap pub!", "it is n't a kid-friendly cheap pub"),
        ("Meals cost £20-25 (or £30.50).", "meals cost # 20-25 -lrb- or # 30.50 -rrb-"),
        ("Café Sicilia's rating: 3/5; 1,000 votes", "café sicilia 's rating 3/5 1,000 votes"),
        (
            "I'm sure they'll say we've won\N{RIGHT SINGLE QUOTATION MARK}t",
            "i 'm sure they 'll say we 've wo n't",
        ),
        ("Dr. Who lives in the U.S. He cannot go.", "dr. who lives in the u.s. he can not go"),
        ("near the river.The price", "near the river.the price"),
        ("the city center., near", "the city center. near"),
        ("O'Neil ate hors d'oeuvres, ma'am", "o'neil ate hors d'oeuvres ma'am"),
        ("A beam of 5 m. The ship's 8.3m long", "a beam of 5 m the ship 's 8.3 m long"),
        ("“quoted” \N{EN DASH} it's 50% ... &amp; done", "quoted it 's 50 % & done"),
        ("gonna rock'n'roll 'n' such at 10:30", "gon na rock 'n' roll 'n' such at 10:30"),
        ("a line\nbreak --- here", "a line break here"),
    ],
)
def test_words_of_a_sentence_equal_the_stanford_tokeniser(text: str, expected: str) -> None:
    """Clitics are cut off, compounds and numbers kept whole, and punctuation dropped."""
    assert " ".join(words(text)) == expected


def test_words_of_unusual_characters_equal_the_stanford_tokeniser() -> None:
    """Emoji, quotes, fractions, marks, invisible characters, smileys, languages: as it prints."""
    path = Path(__file__).with_name("stanford_tokens.json")
    expected: dict[str, str] = dict(json.loads(path.read_text()))
    assert len(expected) > 150
    assert {text: " ".join(words(text)) for text in expected} == expected


def test_half_of_a_surrogate_pair_is_no_word() -> None:
    """No encoding holds one, and so no line to METEOR's program may."""
    assert words("a\ud83d \ude00b \ud83d") == ("a", "b")


def test_rouge_and_cider_of_unusual_characters_are_those_of_coco_caption() -> None:
    """The values come from pycocoevalcap with its own tokeniser."""
    outputs = ["Great pub near the river \U0001f600", "Il a dit « bonjour »", "He writes C code"]
    references = ["Great pub near the river", "Il a dit bonjour", "He writes C++ code"]
    listed = [[reference] for reference in references]
    assert rouge_l(outputs, listed) == pytest.approx(0.9167, abs=5e-5)
    assert cider(outputs, listed) == pytest.approx(7.569, abs=5e-4)


def test_score_named_metrics_come_in_order() -> None:
    """Scores are the functions' values under the names asked for."""
    outputs, references = corpus(5)
    scores = compute(["chrf", "bleu"], {"texts": (outputs, references)})
    assert list(scores) == ["chrf", "bleu"]
    assert scores["bleu"] == bleu(outputs, references)


def test_get_unknown_name_lists_all_names() -> None:
    """An unknown metric is refused with every allowed name."""
    with pytest.raises(ConfigError) as caught:
        get("rouge")
    assert all(name in str(caught.value) for name in (*NAMES, "'rouge'"))


@pytest.mark.parametrize("name", COMPUTED)
def test_as_evaluate_same_inputs_report_the_same_number(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrapper for the `evaluate` package gives the function's value."""
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path))
    outputs, references = corpus(6)
    module = as_evaluate(name)
    assert module.compute(predictions=outputs, references=references) == {
        name: get(name).function(outputs, references)
    }


def test_import_nlg_metrics_loads_no_heavy_package() -> None:
    """Importing the metrics loads neither torch nor the `evaluate` package and its data sets."""
    program = (
        "import sys; from gapbench.bench.metrics.base import discover; discover();"
        "print(*{'torch', 'evaluate', 'datasets', 'transformers'} & set(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert not loaded.stdout.strip()


@pytest.mark.parametrize("longest", [12, 90])
def test_word_distance_equals_sacrebleu(longest: int) -> None:
    """Edits and their order are those of sacrebleu's matrix, even where that cuts corners."""
    rng = np.random.default_rng(longest)
    for _ in range(200):
        words = np.array([*"abcdefghij"])[: rng.integers(1, 11)]
        given, target = (
            [str(word) for word in rng.choice(words, rng.integers(low, longest))] for low in (0, 1)
        )
        distance = WordDistance(target)
        distance.traced = given
        assert distance(given) == BeamEditDistance(target)(given)


@pytest.mark.parametrize("longest", [12, 45])
def test_ter_of_shuffled_words_equals_sacrebleu(longest: int) -> None:
    """Texts that take many shifts, more than are tried at most, have sacrebleu's score exactly."""
    rng = np.random.default_rng(longest)
    references = [[f"w{i}" for i in rng.integers(0, longest, longest)] for _ in range(2)]
    outputs = [" ".join(rng.permutation(words)) for words in references]
    expected = sacrebleu.corpus_ter(outputs, [[" ".join(words) for words in references]])
    assert ter(outputs, [[" ".join(words)] for words in references]) == (
        expected.num_edits / expected.ref_length
    )
