"""Instruction tuning: the answers are learned, token by token, and nothing else is."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import BackboneError, ConfigError, DataError
from gapbench.bench.core.schema import validate
from gapbench.bench.data.encoded import TurnsSplit
from gapbench.bench.models.backbone import Reader
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds.dialogues import answer_ends, dialogue
from gapbench.bench.tasks.kinds.target_tokens import WrittenTexts
from tests.support import tokenizers
from tests.support.causal_files import INSTRUCT, TALK, make_task

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{}\n\n### Response:\n"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### Instruction:\n{}"
    "\n\n### Input:\n{}\n\n### Response:\n"
)
DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a colour!"},
    {"role": "assistant", "content": "red"},
    {"role": "tool", "content": "42"},
    {"role": "assistant", "content": "the sum is 42"},
    {"role": "user", "content": "thanks"},
]
# The same as texts, with answers and the tokens that end them apart from the rest.
WRITTEN: dict[str, list[str]] = {
    "chatml": [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName a colour!<|im_end|>\n"
        "<|im_start|>assistant\n",
        "red<|im_end|>",
        "\n<|im_start|>tool\n42<|im_end|>\n<|im_start|>assistant\n",
        "the sum is 42<|im_end|>",
    ],
    "names": [
        "system: Be brief.\nuser: Name a colour!\nassistant: ",
        "red",
        "\ntool: 42\nassistant: ",
        "the sum is 42</s>",
    ],
    "": [
        "Be brief.\n\n### Instruction:\nName a colour!\n\n### Response:\n",
        "red</s>",
        "\n\n### Input:\n42\n\n### Response:\n",
        "the sum is 42</s>",
    ],
}


def encode(task: Task, tokenizer: Any, table: dict[str, list[Any]], window: int = 10**6) -> Any:
    """Return a table as a split."""
    kind, reader = kinds.get("instruction"), Reader(tokenizer, window)
    rows = kind.read(task, "file a.parquet", table)
    arrays = kind.encode(task, "file a.parquet", rows, reader)
    arrays |= {"targets": rows.targets, "example_ids": rows.numbers}
    return kind.load(arrays, tokenizer.pad_token_id)


def expected(tokenizer: Any, pieces: list[str], begin: list[int]) -> tuple[list[int], list[int]]:
    """Return the tokens of a text and the places of those in every second piece, by offsets."""
    made = tokenizer("".join(pieces), add_special_tokens=False, return_offsets_mapping=True)
    edges = np.cumsum([0, *map(len, pieces)])
    learned = [
        len(begin) + place
        for place, (start, stop) in enumerate(made["offset_mapping"])
        for low, high in zip(edges[1::2], edges[2::2], strict=True)
        if low < stop <= high and start < stop
    ]
    return begin + made["input_ids"], learned


@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_tokens_of_single_answers_are_the_targets(kind: str) -> None:
    """The answer and its end token are learned, by every tokenizer; an empty input is left out."""
    tokenizer = tokenizers.make(kind)
    table = {
        "instruction": ["Name three colours!", "Name the sum."],
        "input": ["", "12 and 30"],
        "output": ["red, blue and green", "42"],
    }
    split = encode(make_task(INSTRUCT, max_length=500), tokenizer, table)
    assert isinstance(split, TurnsSplit)
    begin = [tokenizer.bos_token_id] if kind == "unigram" else []
    texts = {
        "chatml": [
            "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
            "<|im_start|>user\n{}\n\n{}<|im_end|>\n<|im_start|>assistant\n",
            "<|im_end|>",
        ],
        "brackets": ["<s>[INST] {} [/INST] ", "<s>[INST] {}\n\n{} [/INST] ", "</s>"],
    }.get(kind.split("-")[-1], [ALPACA, ALPACA_INPUT, "</s>"])
    for row, (instruction, given, answer) in enumerate(zip(*table.values(), strict=True)):
        text = texts[row].format(instruction, given)
        tokens, learned = expected(tokenizer, [text, answer + texts[2]], begin)
        start, stop = split.offsets[row : row + 2]
        assert split.input_ids[start:stop].tolist() == tokens
        first, last = split.place_offsets[row : row + 2]
        assert split.places[first:last].tolist() == learned
        said = tokenizer.decode([tokens[place] for place in learned])
        assert said.replace(" ", "") == (answer + texts[2]).replace(" ", "")
        assert split.prompts[row] == learned[0]


@pytest.mark.parametrize(
    "kind", ["byte-bpe", "wordpiece", "unigram", "byte-bpe-chatml", "wordpiece-names"]
)
def test_tokens_of_every_answer_in_a_dialogue_are_the_targets(kind: str) -> None:
    """Headers, other roles and what follows the last answer are not learned."""
    tokenizer = tokenizers.make(kind)
    pieces = WRITTEN.get(kind.split("-")[-1], WRITTEN[""])
    split = encode(make_task(TALK, max_length=500), tokenizer, {"messages": [DIALOGUE]})
    begin = [tokenizer.bos_token_id] if kind == "unigram" else []
    tokens, learned = expected(tokenizer, pieces, begin)
    assert split.input_ids.tolist() == tokens
    assert split.places.tolist() == learned
    extra, targets = split.inputs_and_targets(np.array([0]))
    assert targets.tolist() == [[tokens[place] for place in learned]]
    assert extra["positions"].tolist() == [[place - 1 for place in learned]]


def test_answers_are_found_where_their_words_come_before() -> None:
    """An answer that also stands in its header, or in a question, is learned in its place only."""
    tokenizer = tokenizers.make("byte-bpe-chatml")
    messages = [
        {"role": "user", "content": "assistant"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "assistant"},
    ]
    split = encode(make_task(TALK, max_length=500), tokenizer, {"messages": [messages]})
    found = [split.input_ids[place] for place in split.places]
    assert tokenizer.decode(found) == "a<|im_end|>assistant<|im_end|>"


def test_long_sequences_are_cut_at_their_end_and_before_long_answers() -> None:
    """An answer keeps half of the length, and what fits is never cut; cut rows are counted."""
    tokenizer = tokenizers.make("unigram")
    answers = ["red and blue and green " * 2, "red"]
    table = {"instruction": ["Name a colour!"] * 2, "output": answers}
    whole = encode(make_task(INSTRUCT, max_length=500, text=["instruction"]), tokenizer, table)
    prompt, longest = int(whole.prompts[0]), int(whole.lengths[0])
    size = prompt + 4
    split = encode(make_task(INSTRUCT, max_length=size, text=["instruction"]), tokenizer, table)
    assert (whole.cut.tolist(), split.cut.tolist()) == ([False, False], [True, False])
    room = size // 2
    kept = whole.input_ids[prompt - room + 1 : longest][: size - 1]
    assert split.input_ids[: split.offsets[1]].tolist() == [tokenizer.bos_token_id, *kept]
    assert split.prompts.tolist() == [room, prompt]
    assert split.input_ids[split.offsets[1] :].tolist() == whole.input_ids[longest:].tolist()


def test_short_prompt_of_a_long_answer_is_kept() -> None:
    """The answer alone is cut, at its end."""
    tokenizer = tokenizers.make("byte-bpe")
    table = {"instruction": ["Name a colour!"], "output": ["red and blue and green " * 90]}
    whole = encode(make_task(INSTRUCT, max_length=5000, text=["instruction"]), tokenizer, table)
    size = int(whole.lengths[0]) - 3
    assert whole.prompts[0] < size // 2
    split = encode(make_task(INSTRUCT, max_length=size, text=["instruction"]), tokenizer, table)
    assert split.input_ids.tolist() == whole.input_ids[:size].tolist()
    assert split.places.tolist() == [place for place in whole.places if place < size]
    assert (whole.cut.tolist(), split.cut.tolist()) == ([False], [True])


def test_instruction_may_be_made_of_other_columns() -> None:
    """The field 'prompt' writes the user's message."""
    task = make_task(INSTRUCT, text=["a", "b"], prompt="{a}? {b}!", max_length=500)
    table = {"a": ["red"], "b": ["blue"], "output": ["green"]}
    split = encode(task, tokenizers.make("byte-bpe-chatml"), table)
    assert "user\nred? blue!<|im_end|>" in tokenizers.make("byte-bpe-chatml").decode(
        split.input_ids
    )


ROW = {"instruction": ["Name a colour!"], "input": [None], "output": ["red"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"output": [" "]}, "row 0: column 'output' is blank; .* or remove the row"),
        ({"instruction": [""]}, "row 0: column 'instruction' is blank"),
        ({"output": [3]}, "row 0: column 'output' holds 3, expected text"),
        ({"output": ["red</s>"]}, "row 0, message 1: it holds '</s>', .* special token; write it"),
        ({"input": ["<s>"]}, "row 0, message 0: it holds '<s>'"),
    ],
)
def test_bad_single_row_is_refused(change: dict[str, list[Any]], says: str) -> None:
    """The message names file, row and the way out."""
    with pytest.raises(DataError, match=f"file a.parquet, {says}"):
        encode(make_task(INSTRUCT, max_length=500), tokenizers.make("byte-bpe"), {**ROW, **change})


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ("red", "found 'red', expected a list of role and content"),
        (
            [{"role": "bot", "content": "red"}],
            "message 0: the role is 'bot', allowed: system, user",
        ),
        ([{"role": "user", "content": "hi"}], "no message of the assistant.* or remove the row"),
        ([{"role": "assistant", "content": " "}], "message 0: the content of the assistant is ' '"),
        ([{"role": "user", "content": None}], "message 0: the content of the user is None"),
        (
            [{"role": "tool", "content": "4"}, {"role": "assistant", "content": "5"}],
            "chat template .* refuses the roles tool, assistant: only user",
        ),
    ],
)
def test_bad_dialogue_is_refused(messages: Any, says: str) -> None:
    """The message names file, row, message and the way out."""
    with pytest.raises(DataError, match=f"file a.parquet, row 0.* ?{says}"):
        encode(make_task(TALK), tokenizers.make("unigram-brackets"), {"messages": [messages]})


def test_answer_that_the_template_changes_is_refused() -> None:
    """Its tokens are not known: here thoughts of earlier answers are left out."""
    messages = [
        {"role": "user", "content": "sum"},
        {"role": "assistant", "content": "hm</think>42"},
        {"role": "assistant", "content": "42"},
    ]
    with pytest.raises(DataError, match=r"row 0, message 1: the chat template .* changes this"):
        encode(make_task(TALK), tokenizers.make("bpe-names"), {"messages": [messages]})


def test_message_that_the_template_leaves_out_is_refused() -> None:
    """Else an answer would be learned after a dialogue that lacks what it follows from."""
    tokenizer = tokenizers.make("byte-bpe-chatml")
    kept = "{% for m in messages if m.role != 'tool' %}"
    tokenizer.chat_template = tokenizers.CHATML.replace("{% for m in messages %}", kept)
    with pytest.raises(DataError, match=r"row 0, message 3: .* leaves out what the role 'tool'"):
        encode(make_task(TALK), tokenizer, {"messages": [DIALOGUE]})
    asked = [{"role": "user", "content": 'a "word"'}, {"role": "assistant", "content": "42"}]
    tokenizer.chat_template = tokenizers.CHATML.replace(
        "m.content | trim", "m.content | tojson if m.role == 'user' else m.content"
    )
    split = encode(make_task(TALK), tokenizer, {"messages": [asked]})
    assert r"\"word\"" in tokenizer.decode(split.input_ids)


def test_text_is_the_same_on_every_day() -> None:
    """Templates of Llama 3.2 and others write today's date; a run would be another tomorrow."""
    tokenizer = tokenizers.make("byte-bpe-chatml")
    dated = "\n{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}\n"
    tokenizer.chat_template = dated + tokenizers.CHATML
    split = encode(make_task(TALK), tokenizer, {"messages": [DIALOGUE]})
    assert tokenizer.decode(split.input_ids).startswith("\n26 Jul 2024<|im_start|>system")


def test_tokenizer_without_template_and_end_token_is_refused() -> None:
    """No answer could end."""
    tokenizer = tokenizers.make("bpe")
    tokenizer.eos_token = None
    with pytest.raises(BackboneError, match="neither a chat template nor an end-of-text token"):
        encode(make_task(INSTRUCT), tokenizer, ROW)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": ["a", "b", "c"]}, "join others by the field 'prompt'"),
        ({"text": ["a"], "prompt": "{a}", "instruction": {"messages": True}}, "does not go with"),
        ({"metrics": ["rouge_l"], "checkpoint_metric": "perplexity"}, "needs written answers"),
        ({"metrics": ["accuracy"]}, "does not score instruction"),
    ],
)
def test_bad_task_is_refused(change: dict[str, Any], says: str) -> None:
    """The message names the field and the way out."""
    with pytest.raises(ConfigError, match=says):
        validate(Task, INSTRUCT | change, "task.yaml")


def test_judges_see_what_was_asked() -> None:
    """An instruction with its input, or all messages before the first answer with their roles."""
    kind = kinds.get("instruction")
    assert isinstance(kind, WrittenTexts)
    table = {"instruction": ["Add!", "Stop!"], "input": ["1, 2", None], "output": ["3", "ok"]}
    rows = kind.read(make_task(INSTRUCT), "here", table)
    assert kind.questions(rows) == ["Add!\n\n1, 2", "Stop!"]
    rows = kind.read(make_task(TALK), "here", {"messages": [DIALOGUE]})
    assert kind.questions(rows) == ["system: Be brief.\n\nuser: Name a colour!"]
    assert rows.columns["references"] == [["red"]]


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ("byte-bpe-chatml", ["</s>", "<|im_end|>"]),
        ("unigram-brackets", ["</s>"]),
        ("wordpiece-names", ["</s>"]),
        ("bpe", ["</s>"]),
    ],
)
def test_answers_end_with_the_token_that_is_learned(kind: str, ends: list[str]) -> None:
    """That of the chat template, and the tokenizer's own, which may be another."""
    tokenizer = tokenizers.make(kind)
    assert tokenizer.convert_ids_to_tokens(answer_ends(tokenizer)) == ends
    if "<|im_end|>" in ends:
        tokenizer.eos_token = None  # which a template makes up for
        assert tokenizer.convert_ids_to_tokens(answer_ends(tokenizer)) == ends[1:]


def test_texts_are_written_up_to_these_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for an answer is told of both."""
    tokenizer, told = tokenizers.make("byte-bpe-chatml"), []
    task = make_task(INSTRUCT, max_length=500, instruction={"decoding": {"max_new_tokens": 9}})
    table = {"instruction": ["Name a colour!"], "input": [""], "output": ["red"]}
    subset = EvalSubset.of(encode(task, tokenizer, table))
    written = tokenizer("red", add_special_tokens=False)["input_ids"]

    def decode(*_: Any, end_ids: list[int], **__: Any) -> list[list[list[int]]]:
        told.append(end_ids)
        return [[written]]

    monkeypatch.setattr("gapbench.bench.tasks.generation.decode", decode)
    axis = SimpleNamespace(size=1, device="cpu")
    config = SimpleNamespace(is_encoder_decoder=False)
    model = SimpleNamespace(eval=lambda: None, config=config)
    state: Any = SimpleNamespace(task=task, axis=axis, model=model)
    method: Any = None
    texts = kinds.get("instruction").finish(method, state, subset, tokenizer)["texts"]
    assert texts.tolist() == [["red"]]
    assert told == [answer_ends(tokenizer)]


def test_answer_is_written_after_the_same_prompt_whatever_the_reference() -> None:
    """Half of the length is the reference's in training, but not where answers are written."""
    tokenizer = tokenizers.make("unigram")
    answers = ["red and blue and green " * 2, "red"]
    table = {"instruction": ["Name a colour!"] * 2, "output": answers}
    fields = {"text": ["instruction"], "instruction": {"decoding": {"max_new_tokens": 8}}}
    whole = encode(make_task(INSTRUCT, max_length=500, **fields), tokenizer, table)
    size = int(whole.prompts[0]) + 4
    split = encode(make_task(INSTRUCT, max_length=size, **fields), tokenizer, table)
    assert split.prompts[0] < split.prompts[1]
    asked = [each.tolist() for each in split.asked_of(np.arange(2))]
    assert asked[0] == asked[1] == whole.input_ids[: whole.prompts[0]].tolist()


def test_blanks_around_messages_are_no_reason_to_refuse_them() -> None:
    """Templates write their own, and few keep those of a message."""
    said = [{"role": "user", "content": "Hi\n"}, {"role": "assistant", "content": "\n Hello "}]
    assert [each.content for each in dialogue("here", said)] == ["Hi", "Hello"]
