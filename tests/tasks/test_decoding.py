"""Decoding: the library's own sequences, for many inputs and many runs at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import takewhile
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from pydantic import ValidationError
from torch import Tensor, nn

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.core.errors import DataError
from gapbench.bench.data.batching import evaluation_batches
from gapbench.bench.tasks.beam_search import NOTHING, Beams
from gapbench.bench.tasks.generation import BatchDecoding, decode

CPU = torch.device("cpu")
PAD, END, VOCABULARY = 0, 3, 24
FAMILIES = {"gpt2": 2, "llama": 0, "qwen2": 1}  # with a seed for which some texts end early
Predict = Callable[[Mapping[str, Any]], Tensor]


@cache
def language_model(family: str, seed: int = 0) -> Any:
    """Return a small random model whose large weights make it prefer few tokens clearly."""
    torch.manual_seed(seed)
    size = {
        "vocab_size": VOCABULARY,
        "initializer_range": 0.3,
        "pad_token_id": PAD,
        "bos_token_id": None,
        "eos_token_id": END,
    }
    decoder = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    configs = {
        "gpt2": lambda: transformers.GPT2Config(
            **size, n_embd=24, n_layer=2, n_head=3, n_positions=64
        ),
        "llama": lambda: transformers.LlamaConfig(**size, **decoder),
        "qwen2": lambda: transformers.Qwen2Config(**size, **decoder),
    }
    model = transformers.AutoModelForCausalLM.from_config(configs[family]())
    return model.double().eval()


def predicting(model: nn.Module) -> Predict:
    """Return a plain model as a function that predicts from the wanted positions alone."""

    def predict(inputs: Mapping[str, Any]) -> Tensor:
        rest = {name: values for name, values in inputs.items() if name != "positions"}
        logits: Tensor = model(**rest).logits
        return logits.take_along_dim(inputs["positions"].unsqueeze(2), dim=1)

    return predict


def stacked(models: Sequence[nn.Module], copies: int = 1) -> Predict:
    """Return models as a stack of runs, each of which averages ``copies`` of them.

    A model is called on its own rows of the common cache, (runs, copies, inputs).
    """

    def predict(inputs: Mapping[str, Any]) -> Tensor:
        common, count = inputs["past_key_values"], len(models)
        caches = [transformers.DynamicCache() for _ in models]
        for index, layer in enumerate(common.layers):
            parts = zip(caches, layer.keys.chunk(count), layer.values.chunk(count), strict=True)
            for own, keys, values in parts:
                own.update(keys, values, index)
        logits = []
        for number, (model, own) in enumerate(zip(models, caches, strict=True)):
            rows = rows_of(inputs, number // copies, count // copies)
            logits.append(predicting(model)({**rows, "past_key_values": own, "use_cache": True}))
        common.layers = caches[0].layers
        for index, layer in enumerate(common.layers):
            layer.keys = torch.cat([own.layers[index].keys for own in caches])
            layer.values = torch.cat([own.layers[index].values for own in caches])
        return averaged(logits, copies)

    return predict


def rows_of(inputs: Mapping[str, Any], run: int, runs: int) -> dict[str, Tensor]:
    """Return the rows of one run."""
    tensors = {name: values for name, values in inputs.items() if isinstance(values, Tensor)}
    return {name: values.chunk(runs)[run] for name, values in tensors.items()}


def averaged(logits: Sequence[Tensor], copies: int) -> Tensor:
    """Return log-probabilities of runs, each the mean of its copies."""
    each = torch.stack([*logits]).unflatten(0, (-1, copies)).log_softmax(-1)
    mean: Tensor = each.logsumexp(1) - np.log(copies)
    return mean.flatten(0, 1)


def random_prompts(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return prompts of 1 to 11 random tokens."""
    rng = np.random.default_rng(seed)
    return [rng.integers(4, VOCABULARY, n) for n in rng.integers(1, 12, count)]


def decoded(
    predict: Predict,
    prompts: Sequence[np.ndarray],
    runs: int = 1,
    search: type[BatchDecoding] = BatchDecoding,
    **settings: Any,
) -> list[list[list[int]]]:
    """Decode with a small number of new tokens."""
    decoding = Decoding(**{"max_new_tokens": 14, "no_repeat_ngram": 0, **settings})
    where: dict[str, Any] = {"end_ids": [END], "pad_id": PAD, "device": CPU}
    return decode(predict, prompts, runs, decoding, **where, search=search)


def generated(
    model: Any, prompt: np.ndarray, decoding: Decoding, ends: Sequence[int] = (END,)
) -> list[int]:
    """Return the library's own sequence for one prompt."""
    ids = torch.as_tensor(prompt)[None]
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            early_stopping=False,
            num_beams=decoding.beams,
            length_penalty=decoding.length_penalty if decoding.beams > 1 else None,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=list(ends),
        )
    tokens: list[int] = out[0, len(prompt) :].tolist()
    return list(takewhile(lambda token: token not in ends, tokens))


def grid() -> Iterator[Decoding]:
    """Yield the settings to compare with the library's."""
    for beams in (1, 2, 5):
        for length_penalty in (0.0, 0.8, 1.0, 2.0) if beams > 1 else (1.0,):
            for no_repeat in (0, 2, 3):
                yield Decoding(
                    beams=beams,
                    length_penalty=length_penalty,
                    no_repeat_ngram=no_repeat,
                    max_new_tokens=14,
                )


@pytest.mark.parametrize("family", FAMILIES)
def test_decode_gives_the_librarys_sequences(family: str) -> None:
    """Every prompt of a padded batch gets the tokens that the library gives it alone.

    The families differ in positions and cache alone, so they share the settings between them.
    """
    model, prompts = language_model(family, FAMILIES[family]), random_prompts(5)
    lengths = set()
    for decoding in list(grid())[list(FAMILIES).index(family) % 2 :: 2]:
        (own,) = decode(
            predicting(model), prompts, 1, decoding, end_ids=[END], pad_id=PAD, device=CPU
        )
        assert own == [generated(model, prompt, decoding) for prompt in prompts], decoding
        lengths |= {len(answer) for answer in own}
    assert 14 in lengths
    assert min(lengths) < 5, "no text ended early, so nothing was tested about ends"


@pytest.mark.parametrize("beams", [1, 3])
def test_any_of_several_tokens_ends_a_text_as_in_the_library(beams: int) -> None:
    """A chat template ends an answer with a token that is not the tokenizer's own end."""
    family = next(iter(FAMILIES))
    model, prompts = language_model(family, FAMILIES[family]), random_prompts(8)
    decoding = Decoding(beams=beams, max_new_tokens=14, no_repeat_ngram=0)
    (plain,) = decoded(predicting(model), prompts, beams=beams)
    ends = [END, *{answer[1] for answer in plain if len(answer) > 2}][:4]
    assert len(ends) > 2
    (own,) = decode(predicting(model), prompts, 1, decoding, end_ids=ends, pad_id=PAD, device=CPU)
    assert own == [generated(model, prompt, decoding, ends) for prompt in prompts]
    assert own != plain


@pytest.mark.parametrize("beams", [1, 4])
def test_stack_decodes_as_its_runs_do_alone(beams: int) -> None:
    """Four different models in one stack give exactly what each gives by itself."""
    models = [language_model("llama", seed) for seed in range(4)]
    prompts = random_prompts(9, seed=1)
    together = decoded(stacked(models), prompts, 4, beams=beams)
    alone = [decoded(predicting(model), prompts, beams=beams)[0] for model in models]
    assert together == alone
    assert len({str(texts) for texts in alone}) == 4


def test_copies_in_the_cache_follow_their_runs() -> None:
    """Two runs of three copies decode as if each read its whole text anew at every step."""
    models = [language_model("gpt2", seed) for seed in range(6)]
    prompts = random_prompts(7, seed=2)
    texts = decoded(stacked(models, copies=3), prompts, 2, beams=1, max_new_tokens=8)
    for own, run in zip(texts, (models[:3], models[3:]), strict=True):
        for prompt, answer in zip(prompts, own, strict=True):
            sequence = prompt.tolist()
            for token in [*answer, END][:8]:
                ids = torch.tensor([sequence])
                each = torch.stack([model(input_ids=ids).logits[0, -1] for model in run])
                assert int(each.softmax(-1).mean(0).argmax()) == token
                sequence.append(token)


@pytest.mark.parametrize("family", FAMILIES)
def test_throwing_out_what_is_of_no_use_changes_nothing(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs, copies and beams keep their own past when inputs and dead tokens leave the cache."""
    predict = stacked([language_model(family, seed) for seed in range(6)], copies=3)
    prompts = random_prompts(8, seed=4)
    texts = []
    for share in (0.0, 0.75, 1.0):  # never, as always, at every chance
        monkeypatch.setattr("gapbench.bench.tasks.generation._WORTH_KEEPING", share)
        texts.append(decoded(predict, prompts, 2, beams=4))
    assert texts[0] == texts[1] == texts[2]


def test_decode_does_not_depend_on_how_prompts_are_batched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One prompt a batch or all together, and in any order: the same texts."""
    predict, prompts = predicting(language_model("qwen2")), random_prompts(8, seed=3)
    decoding = Decoding(beams=3, max_new_tokens=10)
    common: dict[str, Any] = {"end_ids": [END], "pad_id": PAD, "device": CPU}
    (whole,) = decode(predict, prompts, 1, decoding, **common)
    (reverse,) = decode(predict, prompts[::-1], 1, decoding, **common)
    monkeypatch.setattr("gapbench.bench.tasks.generation.MAX_TOKENS", 1)
    (single,) = decode(predict, prompts, 1, decoding, **common)
    assert whole == single == reverse[::-1]


def test_done_inputs_leave_the_batch() -> None:
    """Rows become fewer as inputs end, and the cache never holds every token of every beam."""
    rows, cached = [], []
    predict = predicting(language_model("llama"))

    def watched(inputs: Mapping[str, Any]) -> Tensor:
        rows.append(len(inputs["input_ids"]))
        cached.append(inputs["past_key_values"].get_seq_length())
        return predict(inputs)

    decoded(watched, random_prompts(12), beams=4)
    assert rows[0] == 12
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < 12
    assert max(cached) < 11 + 4 * 12


def test_decode_prompt_without_tokens_refused() -> None:
    """An empty prompt is an error that says which one it is."""
    with pytest.raises(DataError, match="prompt 1 has no tokens"):
        decoded(predicting(language_model("llama")), [np.array([4]), np.array([], dtype=int)])


def test_decode_nothing_gives_nothing() -> None:
    """Without prompts, every run has an empty list."""
    assert decoded(predicting(language_model("llama")), [], runs=2) == [[], []]


def test_advance_search_by_hand_keeps_the_best() -> None:
    """Two beams over three tokens score as sums of logarithms divided by a power of the length."""
    beams = Beams.start(torch.tensor([[NOTHING, 1]]), 2)
    answers = torch.full((1, 3), NOTHING)
    decoding = Decoding(beams=2, length_penalty=1.0, no_repeat_ngram=0, max_new_tokens=3)
    end = 0
    parents = beams.advance(torch.tensor([[[0.2, 0.5, 0.3]]]).log(), decoding, [end], answers)
    assert parents.tolist() == [[0, 0]]
    assert beams.tokens.tolist() == [[[1], [2]]]
    torch.testing.assert_close(beams.scores.exp(), torch.tensor([[0.5, 0.3]]).double())
    # From "1": end 0.6; from "2": token 2 with 0.9. Together 0.30 (ends), 0.27, 0.15, 0.05.
    second = torch.tensor([[[0.6, 0.3, 0.1], [0.05, 0.05, 0.9]]]).log()
    parents = beams.advance(second, decoding, [end], answers)
    assert parents.tolist() == [[1, 0]]
    assert answers.tolist() == [[1, 0, NOTHING]]
    torch.testing.assert_close(beams.ended[0, 0], torch.tensor(0.3).log().double() / 2)
    assert beams.open.tolist() == [True]
    # 0.27 * 0.99 over three tokens beats the answer: log(0.2673) / 3 > log(0.3) / 2.
    third = torch.tensor([[[0.005, 0.99, 0.005], [0.4, 0.3, 0.3]]]).log()
    beams.advance(third, decoding, [end], answers)
    assert answers.tolist() == [[2, 2, 1]]
    assert beams.open.tolist() == [False]


def test_batches_hold_all_prompts_within_the_bound() -> None:
    """Every place comes once, and padded lengths stay within the bound but for single prompts."""
    lengths = np.random.default_rng(0).integers(1, 40, 100)
    batches = list(evaluation_batches(lengths, 64))
    assert sorted(np.concatenate(batches)) == list(range(100))
    assert all(len(b) == 1 or len(b) * lengths[b].max() <= 64 for b in batches)
    assert [len(b) for b in evaluation_batches(lengths, 1)] == [1] * 100


@pytest.mark.parametrize(
    "setting",
    [{"beams": 0}, {"length_penalty": -0.1}, {"no_repeat_ngram": -1}, {"max_new_tokens": 0}],
)
def test_decoding_illegal_setting_refused(setting: dict[str, Any]) -> None:
    """Every setting has a legal range."""
    with pytest.raises(ValidationError, match=next(iter(setting))):
        Decoding(**setting)
