"""Windows over contexts cover them and hold their answers; rows that cannot be read are refused."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from gapbench.bench.config import task_files
from gapbench.bench.core.errors import DataError
from gapbench.bench.models.backbone import Reader
from gapbench.bench.tasks import kinds
from tests.support.span_files import Rows, encode, make_task, questions, word_reader

ALPHABETS = ("abc ,.", "äéß çñ", "日本語 の。", "a🙂e\u0301\u200d \u00a0b\n")


def byte_reader(window: int = 64) -> Reader:
    """Return a tokenizer of which every byte is a token, so that characters have several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Reader(transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer), window)


READERS: dict[str, Callable[[], Reader]] = {"words": word_reader, "bytes": byte_reader}


def random_rows(reader: Reader, seed: int) -> Rows:
    """Return random texts in which answers begin and end where words or characters do."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    rows: Rows = {"question": [], "context": [], "answers": []}
    while len(rows["question"]) < 25:
        letters = draw.choice(ALPHABETS)
        context = "".join(draw.choices(letters, k=draw.randint(1, 150)))
        places = reader.tokenizer(context, return_offsets_mapping=True)["offset_mapping"]
        if not places:
            continue
        first = draw.randrange(len(places))
        last = min(first + draw.randrange(6), len(places) - 1)
        start, text = places[first][0], context[places[first][0] : places[last][1]]
        if not text.strip():
            continue
        rows["question"].append("".join(draw.choices("who?", k=draw.randint(1, 8))))
        rows["context"].append(context)
        rows["answers"].append({"text": [text], "answer_start": [start]})
    return rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stride", [1, 5])
@pytest.mark.parametrize("name", READERS)
def test_windows_are_overlapping_slices_that_cover_the_context(
    name: str, stride: int, seed: int
) -> None:
    """The windows of a context are its tokens, cut evenly; all but the question's are in them."""
    reader = READERS[name]()
    rows = random_rows(reader, seed)
    split = encode(make_task(span={"stride": stride}), rows, reader)
    for unit, (question, context) in enumerate(zip(rows["question"], rows["context"], strict=True)):
        asked, told = (reader.tokenizer(text)["input_ids"] for text in (question, context))
        room, begin = 24 - len(asked), 0
        for window in split.sequences(np.array([unit])):
            ids = split.input_ids[split.offsets[window] : split.offsets[window + 1]].tolist()
            assert ids == asked + told[begin : begin + room]
            assert split.context[window].tolist() == [len(asked), len(ids)]
            begin += room - stride
        assert begin + stride >= len(told), "some tokens are in no window"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", READERS)
def test_answers_are_recovered_from_the_windows_that_hold_them(name: str, seed: int) -> None:
    """A window points at the whole answer, by character, or at token 0 if it lacks some of it."""
    reader = READERS[name]()
    rows = random_rows(reader, seed)
    split = encode(make_task(span={"stride": 6}), rows, reader)
    held = 0
    for unit, (context, given) in enumerate(zip(rows["context"], rows["answers"], strict=True)):
        text, start = given["text"][0], given["answer_start"][0]
        start, text = start + len(text) - len(text.lstrip()), text.strip()
        for window in split.sequences(np.array([unit])):
            offset, (begin, end) = split.offsets[window], split.context[window]
            seen = split.characters[offset + begin : offset + end]
            inside = seen[0, 0] <= start and start + len(text) <= seen[-1, 1]
            first, last = split.spans[window]
            assert bool(first) == inside
            if inside:
                held += 1
                places = split.characters[[offset + first, offset + last]]
                assert (places[0, 0], places[1, 1]) == (start, start + len(text))
                assert context[places[0, 0] : places[1, 1]] == text
                assert begin <= first <= last < end
    assert held >= len(rows["context"]) // 2


@pytest.mark.parametrize("name", ["squad_v1", "squad_v2"])
def test_built_in_tasks_read_the_layout_of_the_hub(name: str) -> None:
    """Both versions read ids, titles and mappings of lists; only the second leaves one open."""
    task, kind = task_files.load(name), kinds.get("span")
    rows: Rows = {"id": ["x"] * 8} | questions(8, 0, answerable=1.0 if name == "squad_v1" else 0.5)
    read = kind.read(task, "here", rows)
    assert read.targets.tolist() == [int(bool(given["text"])) for given in rows["answers"]]
    assert task.group in rows


def spoilt(column: str, value: Any) -> Rows:
    """Return five questions, of which row 3 has another value in a column."""
    rows = questions(5, 0)
    rows[column][3] = value
    return rows


BAD_ANSWERS: dict[str, tuple[Any, str]] = {
    "wrong place": ({"text": ["red cat"], "answer_start": [500]}, "starts at character 500 of the"),
    "negative place": ({"text": ["red"], "answer_start": [-3]}, "starts at character -3 of the"),
    "blank": ({"text": [" "], "answer_start": [3]}, "' ' starts at character 3"),
    "none": (
        {"text": [], "answer_start": []},
        r"no answer, which version 1\.1 does not allow.*2\.0",
    ),
    "lengths": ({"text": ["red"], "answer_start": []}, "expected texts and their starts"),
    "no mapping": ("red cat", "holds 'red cat', expected texts and their starts"),
    "missing": (None, "holds 'None', expected texts"),
    "no starts": ({"text": ["red"]}, "expected texts and their starts, such as"),
    "numbers": ({"text": [3], "answer_start": [0]}, "expected texts and their starts"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_wrong_answers_are_refused(name: str) -> None:
    """The message says which row, what it holds and what it should."""
    value, says = BAD_ANSWERS[name]
    with pytest.raises(DataError, match=rf"here, row 3: .*{says}"):
        kinds.get("span").read(make_task(), "here", spoilt("answers", value))


@pytest.mark.parametrize("column", ["question", "context", "answers"])
def test_missing_column_is_refused(column: str) -> None:
    """The message names the column and those that there are."""
    rows = questions(5, 0)
    del rows[column]
    with pytest.raises(DataError, match=rf"here: no column '{column}'; columns present: title"):
        kinds.get("span").read(make_task(), "here", rows)


def test_question_that_fills_the_window_is_refused_with_the_way_out() -> None:
    """A window that could not move on along the context is refused before it is cut."""
    rows = spoilt("question", "cat " * 20)
    says = r"here, row 3: the question has 20 .* leaves 4 of 24 .* overlap by 4; raise 'max_length'"
    with pytest.raises(DataError, match=says):
        encode(make_task(span={"stride": 4}), rows, word_reader())
    encode(make_task(span={"stride": 3}), rows, word_reader())


def test_context_without_tokens_is_refused() -> None:
    """A blank context holds nothing that could be pointed at."""
    rows = spoilt("context", "  ") | {"answers": [{"text": [], "answer_start": []}] * 5}
    with pytest.raises(DataError, match="here, row 3: the context has no token"):
        encode(make_task("2.0"), rows, word_reader())
