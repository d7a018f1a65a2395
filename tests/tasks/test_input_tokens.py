"""Inputs have a token to predict from, none that the backbone lacks, and no mark among words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from gapbench.bench.config.head import SPAN
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.models.backbone import Reader
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.kinds.input_tokens import require_known
from tests.support import span_files
from tests.support.small_suite import TASK
from tests.support.tiny_checkpoints import VOCABULARY, load, save, tokenizer

CLASSIFY = Task.model_validate(TASK)
PAIR = Task.model_validate(TASK | {"text": ["sentence", "other"]})
RATE = Task.model_validate(
    TASK | {"kind": "regression", "labels": [], "label_range": [0, 5], "metrics": ["pearson"]}
)
EMPTY = ["a cat", "", "  ", "a dog"]


def encode(task: Task, reader: Reader, **columns: Any) -> dict[str, Any]:
    """Return the arrays of a table, with labels of all kinds."""
    kind = kinds.get(task.kind)
    n = len(next(iter(columns.values())))
    rows = kind.read(task, "here", {"label": [0, 1] * (n // 2) + [0] * (n % 2), **columns})
    return kind.encode(task, "here", rows, reader)


@pytest.mark.parametrize("family", ["gpt2", "opt", "gpt_neox"])
@pytest.mark.parametrize("task", [CLASSIFY, RATE])
def test_texts_without_a_token_are_refused_with_their_number(task: Task, family: str) -> None:
    """A decoder whose texts begin with no token would score them by their neighbours' padding."""
    with pytest.raises(DataError, match=r"here: 2 of 4 texts have no tokens, the first in row 1"):
        encode(task, Reader(tokenizer(family), 32), sentence=EMPTY)


def test_pair_with_one_text_and_encoder_s_empty_texts_are_read() -> None:
    """One token is enough, whoever puts it there."""
    arrays = encode(PAIR, Reader(tokenizer("gpt2"), 32), sentence=["", "a"], other=["b", ""])
    assert np.diff(arrays["offsets"]).tolist() == [1, 1]
    arrays = encode(CLASSIFY, Reader(tokenizer("bert"), 32), sentence=EMPTY)
    assert np.diff(arrays["offsets"]).min() == 2
    with pytest.raises(DataError, match="1 of 2 texts have no tokens, the first in row 1"):
        encode(PAIR, Reader(tokenizer("gpt2"), 32), sentence=["a", ""], other=["", " "])


def test_question_without_a_token_is_refused_where_the_context_would_come_first() -> None:
    """Token 0 stands for no answer, so it must not be one of the context."""
    rows = span_files.questions(3, 0)
    rows["question"][1] = " "
    task = span_files.make_task()
    with pytest.raises(DataError, match="1 of 3 questions have no tokens, the first in row 1"):
        span_files.encode(task, rows, Reader(tokenizer("gpt2"), 64))
    assert len(span_files.encode(task, rows, Reader(tokenizer("bert"), 64))) == 3


@pytest.mark.parametrize("word", ["[SEP]", "[CLS]", "[PAD]"])
@pytest.mark.parametrize("family", ["bert", "bart", "gpt2"])
def test_special_tokens_in_a_text_are_plain_text(family: str, word: str) -> None:
    """They count as words of the text in rows that hold them; other rows are as ever."""
    reader = Reader(tokenizer(family), 64)
    texts = ["a cat", f"x {word} y", "a dog", word]
    arrays = encode(CLASSIFY, reader, sentence=texts)
    held = family != "gpt2" or word == "[SEP]"  # its other words are no marks
    assert arrays["escaped"].tolist() == [False, held, False, held]
    for text, ids in zip(
        texts, np.split(arrays["input_ids"], arrays["offsets"][1:-1]), strict=True
    ):
        if word in text:
            words = ids if family == "gpt2" else ids[1:-1]
            assert VOCABULARY[word] not in words
            assert VOCABULARY["["] in words
        else:
            assert ids.tolist() == reader.tokenizer(text)["input_ids"]


def test_marks_of_the_user_s_own_stay_marks() -> None:
    """Additional special tokens, such as those around an entity, are put into texts on purpose."""
    own = tokenizer("bert")
    own.add_special_tokens({"additional_special_tokens": ["<e>"]})
    arrays = encode(CLASSIFY, Reader(own, 64), sentence=["a <e> cat", "b"])
    assert own.convert_tokens_to_ids("<e>") in arrays["input_ids"]
    assert not arrays["escaped"].any()


def test_word_that_no_tokenizer_can_spell_is_refused() -> None:
    """A vocabulary of whole words reads the mark even as plain text."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0, "[SEP]": 1}, unk_token="[UNK]"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole = transformers.PreTrainedTokenizerFast(tokenizer_object=made, sep_token="[SEP]")  # noqa: S106
    with pytest.raises(DataError, match=r"row 1: a text holds '\[SEP\]', which the backbone's"):
        encode(CLASSIFY, Reader(whole, 64), sentence=["a", "b [SEP]"])


def test_ids_beyond_the_embedding_are_refused(tmp_path: Path) -> None:
    """Tokens that were added to the tokenizer alone have no vector."""
    folder = save(tmp_path / "gpt2", "gpt2")
    wider = transformers.AutoTokenizer.from_pretrained(folder)
    wider.add_tokens([AddedToken("cat")])
    wider.save_pretrained(folder)
    reader = load(folder).reader
    assert reader.vocabulary == len(VOCABULARY)
    arrays = encode(CLASSIFY, reader, sentence=["a cat", "a dog"])
    with pytest.raises(DataError, match=rf"the token 'cat' has the id {len(VOCABULARY)}, but"):
        require_known("here", arrays, reader)
    require_known("here", encode(CLASSIFY, reader, sentence=["a dog", "b"]), reader)


def test_segments_beyond_the_embedding_are_refused(tmp_path: Path) -> None:
    """RoBERTa has one; a tokenizer that marks two texts would index beyond it."""
    folder = save(tmp_path / "roberta", "roberta", type_vocab_size=1)
    marking = tokenizer("roberta")
    marking.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    marking.save_pretrained(folder)
    reader = load(folder).reader
    pair = encode(PAIR, reader, sentence=["a", "b"], other=["c", "d"])
    with pytest.raises(DataError, match=r"segments 0 to 1, but the backbone has 1"):
        require_known("here", pair, reader)
    require_known("here", encode(CLASSIFY, reader, sentence=["a", "b"]), reader)
    assert load(save(tmp_path / "bert", "bert"), SPAN).reader.segments == 2


def test_cut_is_noted_of_texts_with_marks_too() -> None:
    """They are counted as they are read, word by word."""
    reader = Reader(tokenizer("bert"), 12)
    arrays = encode(
        CLASSIFY, reader, sentence=["[SEP] a [SEP] b c [SEP] a b c d e f", "[SEP] a cat"]
    )
    assert arrays["cut"].tolist() == [True, False]
    assert arrays["escaped"].tolist() == [True, True]


def test_question_of_marks_is_counted_as_it_is_read() -> None:
    """It is refused where it leaves no room, not handed to a tokenizer that breaks."""
    rows = span_files.questions(3, 0)
    rows["question"][1] = "[SEP] " * 30
    with pytest.raises(DataError, match=r"row 1: the question has .* leaves 0 of"):
        span_files.encode(span_files.make_task(), rows, Reader(tokenizer("bert"), 32))
