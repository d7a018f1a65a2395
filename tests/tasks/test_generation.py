"""Generation: token losses, prompts and references are what plain models say they are."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers

from gapbench.bench.adaptation.build import set_up
from gapbench.bench.adaptation.losses import run_losses
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.batching import collate
from gapbench.bench.data.encoded import CausalSplit
from gapbench.bench.models.backbone import Reader
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.cuts import cut
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds.prompts import encode_pairs
from tests.support.causal_files import (
    FAMILIES,
    TELL,
    WINDOW,
    Made,
    losses,
    make,
    make_runs,
    make_task,
    tellings,
)
from tests.support.small_stack import CPU


def assert_equal(ours: Any, theirs: Any) -> None:
    """Compare numbers of double precision."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def token_ids(made: Made, prompt: str, target: str) -> tuple[list[int], int]:
    """Return the ids of a whole sequence, and how many of them are given."""
    tokenizer = made.backbone.tokenizer
    given = tokenizer(prompt)["input_ids"]
    return tokenizer(f"{prompt} {target}")["input_ids"] + [tokenizer.eos_token_id], len(given)


@pytest.mark.parametrize("family", FAMILIES)
def test_token_losses_are_those_of_the_plain_model(
    family: str, decoder: Callable[[str], Path]
) -> None:
    """Loss, confidence and correctness of each reference token equal a run of it alone."""
    made = make(decoder(family), make_task(TELL))
    outputs, model, split = made.untuned(), made.plain(), made.data.test
    assert isinstance(split, CausalSplit)
    expected, tops = [], []
    table = tellings(12, 2)
    for prompt in dict.fromkeys(zip(table["who"], table["what"], strict=True)):
        for who, what, telling in zip(*table.values(), strict=True):
            if (who, what) == prompt:
                ids, given = token_ids(made, f"{who} : {what} ||", telling)
                expected.append(losses(model, ids, given))
                with torch.no_grad():
                    best = model(input_ids=torch.tensor([ids])).logits[0].softmax(-1).max(-1)
                tops.append(
                    (best.values[given - 1 : -1], best.indices[given - 1 : -1], ids[given:])
                )
    np.testing.assert_allclose(outputs["loss"][0], torch.cat(expected))
    confidence = torch.cat([top for top, _, _ in tops])
    assert_equal(outputs["confidence"][0], confidence)
    correct = torch.cat([best == torch.tensor(own) for _, best, own in tops])
    np.testing.assert_array_equal(outputs["correct"][0], correct)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_loss_is_the_frameworks_with_label_smoothing(
    family: str, smoothing: float, decoder: Callable[[str], Path]
) -> None:
    """A batch's loss is torch's cross-entropy over its target tokens, padding left out."""
    task = make_task(TELL, generation=TELL["generation"] | {"label_smoothing": smoothing})
    made = make(decoder(family), task)
    method, state = set_up(make_runs(task), made.backbone, made.data, CPU)
    indices = np.array([[0, 3, 5, 7]])
    ours = method.losses(state, collate(made.data.train, indices, CPU)).detach()
    split, model, rows, targets = made.data.train, made.plain(), [], []
    assert isinstance(split, CausalSplit)
    for index in indices[0]:
        ids = split.input_ids[split.offsets[index] : split.offsets[index + 1]].tolist()
        given = int(split.prompts[index])
        with torch.no_grad():
            rows.append(model(input_ids=torch.tensor([ids])).logits[0, given - 1 : -1])
        targets.append(torch.tensor(ids[given:]))
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(
        torch.cat(rows), torch.cat(targets)
    )
    assert_equal(ours, [expected])


def test_ignored_decisions_carry_neither_loss_nor_gradient() -> None:
    """Logits of padding change nothing, and get no gradient, smoothed or not."""
    task = make_task(TELL, generation={"label_smoothing": 0.3})
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, 4, -100], [2, -100, -100]])
    run_losses(logits, targets, task, 2).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[targets == -100] == 0).all()
    assert (logits.grad[targets != -100] != 0).any()


def test_rows_of_one_input_are_one_unit_with_all_their_references(
    decoder: Callable[[str], Path],
) -> None:
    """No reference is lost, none is held against another input, and each is trained on."""
    task, table = make_task(TELL), tellings(24, 0)
    rows = kinds.get("generation").read(task, "here", table)
    expected: dict[str, list[str]] = {}
    for who, what, telling in zip(*table.values(), strict=True):
        expected.setdefault(f"{who} : {what} ||", []).append(telling)
    kept = dict(zip(rows.columns["prompt"], rows.columns["references"], strict=True))
    assert kept == expected
    assert len(kept) < 24
    assert [table["who"][row] for row in rows.numbers] == [p.split()[0] for p in kept]
    split = make(decoder("gpt2"), task).data.train
    assert isinstance(split, CausalSplit)
    assert len(split.trained) == 24
    held = [split.texts[unit]["references"] for unit in range(len(split))]
    assert held == list(expected.values())


def test_lists_of_references_equal_rows_of_one_each() -> None:
    """A column of lists gives the same units as one row for each of their texts."""
    table = tellings(24, 0)
    kind = kinds.get("generation")
    single = kind.read(make_task(TELL), "here", table)
    who, what = zip(
        *(p.removesuffix(" ||").split(" : ") for p in single.columns["prompt"]), strict=True
    )
    listed = {"who": who, "what": what, "all": single.columns["references"]}
    task = make_task(TELL, generation={"references": "all"})
    assert dict(kind.read(task, "here", listed).columns) == dict(single.columns)


@pytest.mark.parametrize("seed", range(3))
def test_validation_cut_shares_no_input_with_train(seed: int) -> None:
    """However rows repeat their inputs, a record is on one side of the cut."""
    rows = kinds.get("generation").read(make_task(TELL), "here", tellings(60, seed))
    chosen = cut(rows.targets, 9, seed)
    sides = [set(rows.take(np.flatnonzero(side)).columns["prompt"]) for side in (chosen, ~chosen)]
    assert not sides[0] & sides[1]
    assert sum(map(len, sides)) == len(rows)


def test_row_without_reference_is_refused() -> None:
    """An input that nothing can be held against is named."""
    table = tellings(5, 0)
    table["telling"][3] = " "
    with pytest.raises(DataError, match=r"here, row 3: no reference text"):
        kinds.get("generation").read(make_task(TELL), "here", table)


@pytest.mark.parametrize("family", FAMILIES)
def test_long_prompt_loses_its_beginning_and_the_target_nothing(
    family: str, decoder: Callable[[str], Path]
) -> None:
    """What is left of a prompt is its end, after the first token of a text if there is one."""
    long = {"who": ["cat"], "what": ["red " * 60 + "old"], "telling": ["the cat is old"]}
    made = make(
        decoder(family), make_task(TELL), dict.fromkeys(("train", "validation", "test"), long)
    )
    split, tokenizer = made.data.train, made.backbone.tokenizer
    assert isinstance(split, CausalSplit)
    ids = split.input_ids.tolist()
    target = tokenizer("the cat is old", add_special_tokens=False)["input_ids"] + [3]
    first = [tokenizer.bos_token_id] if family == "llama" else []
    assert len(ids) == 32
    assert ids[: len(first)] == first
    assert ids[split.prompts[0] :] == target
    whole = tokenizer(f"cat : {long['what'][0]} ||", add_special_tokens=False)["input_ids"]
    kept = ids[len(first) : split.prompts[0]]
    assert kept == whole[-len(kept) :]


def test_target_longer_than_the_window_is_refused_with_the_way_out(
    decoder: Callable[[str], Path],
) -> None:
    """Targets are never cut; the message has their length, the limit and the window."""
    long = {"who": ["cat"], "what": ["old"], "telling": ["red " * 40]}
    with pytest.raises(DataError, match=rf"row 0, .*has 41 tok.*may have 32.*window is {WINDOW}"):
        make(decoder("gpt2"), make_task(TELL), dict.fromkeys(("train", "validation", "test"), long))


def test_decoding_without_room_for_a_prompt_is_refused(decoder: Callable[[str], Path]) -> None:
    """What is written may not fill all places of the model."""
    task = make_task(TELL, generation={"decoding": {"max_new_tokens": WINDOW}})
    says = rf"'generation.decoding.max_new_tokens' is {WINDOW}, .* has {WINDOW} positions"
    with pytest.raises(DataError, match=says):
        make(decoder("gpt2"), task)


def test_row_at_fault_is_that_of_the_split(decoder: Callable[[str], Path]) -> None:
    """Messages count rows of the file, where rows of one input are one unit, and name the split."""
    rows = {"who": ["cat"] * 3 + ["dog"], "what": ["old"] * 4}
    tables = dict.fromkeys(("train", "validation"), tellings(4, 0))
    tables["test"] = rows | {"telling": ["a cat", "it is", "the cat", "red " * 40]}
    with pytest.raises(DataError, match=r"split 'test', row 3, target 'red red.*has 41 tokens"):
        make(decoder("gpt2"), make_task(TELL), tables)


def test_empty_input_is_refused_only_where_nothing_stands_before_its_target(
    decoder: Callable[[str], Path],
) -> None:
    """The message is about the input, and not about lengths; a first token is enough."""
    rows = {"who": ["cat", " "], "what": ["old", " "], "telling": ["a cat", "a dog"]}
    tables = dict.fromkeys(("train", "validation", "test"), rows)
    task = make_task(TELL, prompt="{who}{what}")
    with pytest.raises(DataError, match=r"1 of 2 prompts have no tokens, the first in row 1"):
        make(decoder("gpt2"), task, tables)
    assert make(decoder("llama"), task, tables).data.train.lengths.min() > 1


def test_tokens_of_a_target_are_its_text_whatever_joins_its_beginning() -> None:
    """Tokens across the boundary, or characters a tokenizer drops, cost a target no letter."""
    letters = {letter: index for index, letter in enumerate("▁|abcdehnrt")}
    vocabulary = letters | {"|▁": 11, "t▁": 12, "</s>": 13}
    bpe = Tokenizer(models.BPE(vocabulary, [("|", "▁"), ("t", "▁")]))  # drops all but its letters
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.decoder = decoders.Replace("▁", " ")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")  # noqa: S106
    pairs = [("[cat][red] |", "a red cat"), ("[hat] tar", "hat"), ("cat", "dan"), ("c[", "tea")]
    units, numbers = [[pair] for pair in pairs], np.arange(len(pairs))
    arrays = encode_pairs(make_task(TELL), "here", units, numbers, Reader(tokenizer, 64))
    for number, (prompt, target) in enumerate(pairs):
        start, stop = arrays["offsets"][number : number + 2]
        given = start + arrays["prompts"][number]
        ids = arrays["input_ids"]
        assert tokenizer.decode(ids[given:stop]).strip() == f"{target}</s>"
        assert tokenizer.decode(ids[start:given]) == re.sub(r"[\[\]]", "", prompt)


def test_repeated_evaluation_of_a_unit_keeps_its_order(decoder: Callable[[str], Path]) -> None:
    """A subset of some units gives their tokens and no others, unit after unit."""
    made = make(decoder("llama"), make_task(TELL))
    whole, split = made.untuned(), made.data.test
    assert isinstance(split, CausalSplit)
    method, state = set_up(make_runs(made.task, "untuned"), made.backbone, made.data, CPU)
    subset = EvalSubset.of(split, 3)
    some = kinds.get("generation").outputs(method, state, subset)
    starts = np.concatenate([[0], np.cumsum(split.target_counts)])
    places = [np.arange(starts[s], starts[s + 1]) for s in split.sequences(subset.examples)]
    assert_equal(some["loss"], whole["loss"][:, np.concatenate(places)])


def test_rows_with_lists_of_references_are_the_published_examples() -> None:
    """Two rows of one input are two: an official score is over its rows."""
    task = make_task(TELL, generation={"references": "all"})
    table = {"who": ["cat", "cat"], "what": ["old", "old"], "all": [["a", "b"], ["a"]]}
    rows = kinds.get("generation").read(task, "here", table)
    assert rows.columns["references"] == [["a", "b"], ["a"]]
    assert len(set(rows.columns["prompt"])) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_text_is_written_after_a_prompt_that_no_reference_cuts(
    family: str, decoder: Callable[[str], Path]
) -> None:
    """Long references cut what is trained on, never what is asked."""
    table = {
        "who": ["cat", "cat"],
        "what": ["red " * 60 + "old", "blue " + "red " * 59 + "old"],
        "telling": ["old", "the cat is very very old and red"],
    }
    splits = dict.fromkeys(("train", "validation", "test"), table)
    split = make(decoder(family), make_task(TELL), splits).data.test
    assert isinstance(split, CausalSplit)
    one, other = split.asked_of(np.arange(2))
    assert one.tolist() == other.tolist()
    assert split.prompts[1] < split.prompts[0] <= len(one)


def test_text_that_holds_an_end_token_is_refused(decoder: Callable[[str], Path]) -> None:
    """Otherwise an answer would be learned to go on after its end."""
    table = {"who": ["cat"], "what": ["old"], "telling": ["a cat [EOS] is old"]}
    with pytest.raises(DataError, match=r"row 0, target .* holds .\[EOS\]..*special token"):
        make(
            decoder("gpt2"), make_task(TELL), dict.fromkeys(("train", "validation", "test"), table)
        )
