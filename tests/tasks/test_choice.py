"""Multiple choice: every choice is scored as a plain model scores it, however many there are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.config import task as task_config
from gapbench.bench.config import task_files
from gapbench.bench.core.errors import ConfigError, DataError
from gapbench.bench.core.schema import validate
from gapbench.bench.metrics import classification
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds.base import of_run
from gapbench.bench.tasks.kinds.choice import ChoiceSplit
from tests.support.causal_files import (
    CHOOSE,
    FAMILIES,
    Made,
    losses,
    make,
    make_decoder,
    make_task,
    questions,
)

BLANK: dict[str, Any] = CHOOSE | {
    "prompt": "the {who} and the _ is {what}",
    "text": ["who", "what"],
}
BLANK |= {"choice": {"options": ["one", "two"], "blank": "_"}}
SENTENCES: dict[str, list[Any]] = {
    "who": ["cat", "dog", "hen", "fox"],
    "what": ["red", "not old", "shy and small", "it"],
    "one": ["dog", "hen", "bird", "dog"],
    "two": ["bird", "fox", "cat", "hen"],
    "label": [0, 1, 1, 0],
}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", params=FAMILIES)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a family's decoder."""
    return make_decoder(tmp_path_factory.mktemp("decoders") / request.param, request.param)


def log_likelihood(made: Made, given: str, scored: str) -> float:
    """Return the log-probability of a text after another, from the plain model alone."""
    tokenizer = made.backbone.tokenizer
    ids, size = tokenizer(f"{given} {scored}")["input_ids"], len(tokenizer(given)["input_ids"])
    return -float(losses(made.plain(), ids, size).sum())


def test_choices_have_the_log_likelihoods_of_the_plain_model(decoder: Path) -> None:
    """Each choice's logit is the summed log-probability of its tokens; missing ones are lowest."""
    made = make(decoder, make_task(CHOOSE))
    (logits,) = made.untuned()["logits"]
    table = questions(12, 2)
    for row, (who, options) in enumerate(zip(table["who"], table["choices"], strict=True)):
        expected = [log_likelihood(made, f"the {who} is", option) for option in options]
        np.testing.assert_allclose(logits[row, : len(options)], expected, rtol=0, atol=1e-9)
        assert (logits[row, len(options) :] < -1e6).all()
    assert {len(options) for options in table["choices"]} == {2, 3, 4}


def test_scores_of_choices_follow_their_definitions(decoder: Path) -> None:
    """Accuracy takes the likeliest choice, accuracy_norm the likeliest a character."""
    made = make(decoder, make_task(CHOOSE))
    outputs, table = of_run(made.untuned(), 0), questions(12, 2)
    plain = normed = loss = 0.0
    for row, options in enumerate(table["choices"]):
        label = table["label"][row]
        scores = outputs["logits"][row, : len(options)]
        plain += np.argmax(scores) == label
        normed += np.argmax([s / len(o) for s, o in zip(scores, options, strict=True)]) == label
        loss -= float(torch.from_numpy(scores).log_softmax(0)[label])
    kind, subset = kinds.get("choice"), EvalSubset.of(made.data.test)
    found = kind.score(made.task, outputs, subset, made.task.metrics)
    assert found.metrics == {"accuracy": plain / 12, "accuracy_norm": normed / 12}
    assert found.loss == pytest.approx(loss / 12, abs=1e-9)
    assert found.examples == 12


def test_accuracy_norm_prefers_the_longer_of_equally_likely_choices() -> None:
    """A hand-worked case: -6 over 6 characters beats -4 over 2, though -4 is likelier."""
    likelihoods, sizes = np.array([[-4.0, -6.0, -np.inf]]), np.array([[2.0, 6.0, 1.0]])
    assert classification.accuracy_norm(likelihoods, sizes, np.array([1])) == 1.0
    assert classification.accuracy_norm(likelihoods, sizes, np.array([0])) == 0.0


def test_blank_is_filled_and_what_follows_it_is_scored(decoder: Path) -> None:
    """Both choices score the same words, after the text up to the blank with the choice in it."""
    made = make(decoder, make_task(BLANK), dict.fromkeys(SPLITS, SENTENCES))
    (logits,) = made.untuned()["logits"]
    for row, (who, what, *options) in enumerate(
        zip(*(SENTENCES[name] for name in ("who", "what", "one", "two")), strict=True)
    ):
        for place, option in enumerate(options):
            given, scored = f"the {who} and the {option}", f"is {what}"
            expected = log_likelihood(made, given, scored)
            assert logits[row, place] == pytest.approx(expected, abs=1e-9)


def test_only_right_choices_are_trained_on(decoder: Path) -> None:
    """Training draws the sequence of each question's right choice, once."""
    made, table = make(decoder, make_task(CHOOSE)), questions(24, 0)
    split = made.data.train
    assert isinstance(split, ChoiceSplit)
    trained = [
        split.input_ids[split.offsets[s] : split.offsets[s + 1]].tolist() for s in split.trained
    ]
    tokenizer = made.backbone.tokenizer
    expected = [
        tokenizer(f"the {who} is {options[label]}")["input_ids"]
        for who, options, label in zip(*table.values(), strict=True)
    ]
    assert trained == expected


def test_long_prompt_makes_room_for_every_choice(decoder: Path) -> None:
    """Each choice keeps all of its tokens; the longest choice leaves the prompt least room."""
    long: dict[str, list[Any]] = {
        "who": ["red " * 50 + "cat"],
        "choices": [["old", "shy and small"]],
        "label": [1],
    }
    made = make(decoder, make_task(CHOOSE), dict.fromkeys(SPLITS, long))
    split, tokenizer = made.data.test, made.backbone.tokenizer
    assert isinstance(split, ChoiceSplit)
    assert split.lengths.tolist() == [32, 32]
    for number, text in enumerate(("old", "shy and small")):
        target = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert (
            split.input_ids[split.offsets[number + 1] - len(target) :][: len(target)].tolist()
            == target
        )
        assert split.target_counts[number] == len(target)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"choices": [["red"]]}, "row 0: choices are"),
        ({"choices": [["red", " "]]}, "at least two, none empty"),
        ({"choices": ["red"]}, "expected a list of texts"),
        ({"label": [2]}, "row 0: column 'label' holds 2, allowed: the number of a choice"),
        ({"label": [-1]}, "without public labels"),
    ],
)
def test_bad_question_is_refused(change: dict[str, Any], says: str) -> None:
    """Rows that cannot be scored are named with column and value."""
    row: dict[str, list[Any]] = {"who": ["cat"], "choices": [["red", "old"]], "label": [1]}
    with pytest.raises(DataError, match=says):
        kinds.get("choice").read(make_task(CHOOSE), "here", row | change)


@pytest.mark.parametrize("what", ["no mark", "_"])
def test_text_without_blank_is_refused(what: str) -> None:
    """A text needs the mark, and words after it."""
    task = make_task(BLANK, text=["who"], prompt="{who}")
    row: dict[str, list[Any]] = {"who": [what], "one": ["dog"], "two": ["hen"], "label": [0]}
    with pytest.raises(DataError, match=r"expected the mark '_'.*choice.blank"):
        kinds.get("choice").read(task, "here", row)


def test_labels_may_be_names_of_the_task_or_of_the_row() -> None:
    """Numbers, names in the task and names beside the choices give the same targets."""
    table: dict[str, list[Any]] = {
        "who": ["cat", "dog"],
        "choices": [["red", "old"], ["shy", "small", "it"]],
    }
    read = kinds.get("choice").read
    numbers = read(make_task(CHOOSE), "here", table | {"label": [1, 2]})
    named = read(make_task(CHOOSE, labels=["A", "B", "C"]), "here", table | {"label": ["B", "C"]})
    own = {"options": "choices", "names": "keys"}
    keys = table | {"keys": [["A", "B"], ["1", "2", "3"]], "label": ["B", "3"]}
    beside = read(make_task(CHOOSE, choice=own), "here", keys)
    for rows in (numbers, named, beside):
        assert rows.targets.tolist() == [1, 2]
    with pytest.raises(
        DataError, match=r"row 1: column 'label' holds 'C', allowed: one of 1, 2, 3"
    ):
        read(make_task(CHOOSE, choice=own), "here", keys | {"label": ["B", "C"]})


def test_replacements_clean_prompt_and_choices() -> None:
    """HellaSwag's marks become full stops or nothing, as its task file says."""
    task = task_files.load("hellaswag")
    row: dict[str, list[Any]] = {
        "activity_label": ["Cooking"],
        "ctx": ["[header] How to cook [title] Wash it. [step] Then  they"],
        "endings": [["go [substeps] on.", "[title] stop.", "x", "y"]],
        "label": ["1"],
    }
    pairs = kinds.get("choice").read(task, "here", row).columns["pairs"][0]
    assert pairs[0] == ("Cooking: How to cook. Wash it. Then they", "go on.")
    assert pairs[1][1] == ". stop."


def test_replacement_that_is_no_pattern_is_refused() -> None:
    """A broken regular expression is named when the task is read."""
    with pytest.raises(ConfigError, match=r"'\(' is not a regular expression"):
        validate(
            task_config.Task,
            CHOOSE | {"choice": {"options": "choices", "replace": [["(", ""]]}},
            "here",
        )


def test_stored_table_has_a_column_a_choice_and_nulls_where_none_is(decoder: Path) -> None:
    """Predictions hold each choice's log-likelihood."""
    made = make(decoder, make_task(CHOOSE))
    outputs = of_run(made.untuned(), 0)
    table = kinds.get("choice").table(outputs, EvalSubset.of(made.data.test)).to_pydict()
    counts = [len(options) for options in questions(12, 2)["choices"]]
    for row, count in enumerate(counts):
        values = [table[f"logit_{k}"][row] for k in range(4)]
        assert [value is None for value in values] == [k >= count for k in range(4)]
    assert table["label"] == questions(12, 2)["label"]
