"""Decoding by encoder-decoders: the library's own sequences, for many inputs and many runs."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import takewhile
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from gapbench.bench.config.head import LANGUAGE_MODEL
from gapbench.bench.models import head_hooks
from gapbench.bench.tasks.encoder_decoding import EncoderDecoding
from tests.support import tiny_families
from tests.tasks import test_decoding
from tests.tasks.test_decoding import (
    END,
    PAD,
    VOCABULARY,
    Predict,
    averaged,
    random_prompts,
    rows_of,
)

FAMILIES = ("t5", "bart")


@cache
def model(family: str, seed: int = 1, forced: int | None = None) -> Any:
    """Return a small random model with the hooks of a task; one that is called alone has none."""
    torch.manual_seed(seed)
    config = tiny_families.config(
        family, vocab_size=VOCABULARY, eos_token_id=END, tie_word_embeddings=False
    )
    made: Any = transformers.AutoModelForSeq2SeqLM.from_config(config).double().eval()
    for weight in made.parameters():
        if weight.dim() > 1:
            weight.data.normal_(std=0.9)  # so that tokens differ
    output = made.get_output_embeddings().weight.data
    output[END] *= 1.6  # so that some texts end
    output[PAD] = 0.0  # which begins a text, and is never written
    made.generation_config.forced_bos_token_id = forced
    head_hooks.attach(made, LANGUAGE_MODEL)
    return made


def predicting(own: Any) -> Predict:
    """Return a model as a function of what decoding asks."""

    def predict(inputs: Mapping[str, Any]) -> Tensor:
        logits: Tensor = own(**inputs).logits
        return logits

    return predict


def stacked(models: Sequence[Any], copies: int = 1) -> Predict:
    """Return models as a stack of runs, each of which averages ``copies`` of them.

    A model is called on its own rows of the common caches, (runs, copies, inputs).
    """

    def predict(inputs: Mapping[str, Any]) -> Tensor:
        common, count = inputs["past_key_values"], len(models)
        both = common.self_attention_cache, common.cross_attention_cache
        owns = [
            transformers.EncoderDecoderCache(*(_part(cache, n, count) for cache in both))
            for n in range(count)
        ]
        logits = []
        for number, (each, own) in enumerate(zip(models, owns, strict=True)):
            rows = rows_of(inputs, number // copies, count // copies)
            logits.append(predicting(each)({**rows, "past_key_values": own, "use_cache": True}))
        common.self_attention_cache = _joined([own.self_attention_cache for own in owns])
        common.cross_attention_cache = _joined([own.cross_attention_cache for own in owns])
        common.is_updated = owns[0].is_updated
        return averaged(logits, copies)

    return predict


def _part(whole: Any, number: int, count: int) -> Any:
    """Return a part of the rows of a cache."""
    own = transformers.DynamicCache()
    for index, layer in enumerate(whole.layers):
        own.update(layer.keys.chunk(count)[number], layer.values.chunk(count)[number], index)
    return own


def _joined(parts: Sequence[Any]) -> Any:
    """Return the cache that `_part` took apart."""
    own = transformers.DynamicCache()
    for index in range(len(parts[0].layers)):
        keys = torch.cat([each.layers[index].keys for each in parts])
        own.update(keys, torch.cat([each.layers[index].values for each in parts]), index)
    return own


decoded = partial(test_decoding.decoded, search=EncoderDecoding)


def generated(own: Any, prompt: np.ndarray, beams: int, no_repeat: int, penalty: float) -> Any:
    """Return the library's own sequence for one prompt."""
    plain = transformers.AutoModelForSeq2SeqLM.from_config(own.config).double().eval()
    plain.load_state_dict(own.state_dict())
    forced = own.generation_config.forced_bos_token_id
    ids = torch.as_tensor(prompt)[None]
    with torch.inference_mode():
        out = plain.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            early_stopping=False,
            num_beams=beams,
            length_penalty=penalty if beams > 1 else None,
            no_repeat_ngram_size=no_repeat,
            max_new_tokens=14 + (forced is not None),
            eos_token_id=END,
            forced_bos_token_id=forced,
            forced_eos_token_id=None,
        )
    begun = 1 + (forced is not None)
    return list(takewhile(lambda token: token != END, out[0, begun:].tolist()))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("beams", "no_repeat", "penalty"), [(1, 0, 1.0), (1, 2, 1.0), (3, 0, 2.0), (4, 3, 0.5)]
)
def test_decode_gives_the_librarys_sequences(
    family: str, beams: int, no_repeat: int, penalty: float
) -> None:
    """Every prompt of a padded batch gets the tokens that the library gives it alone."""
    own, prompts = model(family), random_prompts(9)
    settings = {"beams": beams, "no_repeat_ngram": no_repeat, "length_penalty": penalty}
    (texts,) = decoded(predicting(own), prompts, **settings)
    assert texts == [generated(own, each, beams, no_repeat, penalty) for each in prompts]
    assert len({len(text) for text in texts}) > 1, "all are of one length: nothing ended early"


def test_forced_first_token_is_given_and_not_written() -> None:
    """It comes before what is written, as in the library, and changes it."""
    prompts = random_prompts(5)
    (texts,) = decoded(predicting(model("bart", forced=5)), prompts, beams=1)
    assert texts == [generated(model("bart", forced=5), each, 1, 0, 1.0) for each in prompts]
    assert texts != decoded(predicting(model("bart")), prompts, beams=1)[0]


@pytest.mark.parametrize("beams", [1, 4])
def test_stack_decodes_as_its_runs_do_alone(beams: int) -> None:
    """Different models in one stack give exactly what each gives by itself."""
    models = [model("t5", seed) for seed in range(3)]
    prompts = random_prompts(9, seed=1)
    together = decoded(stacked(models), prompts, 3, beams=beams)
    assert together == [decoded(predicting(each), prompts, beams=beams)[0] for each in models]
    assert len({str(texts) for texts in together}) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_throwing_out_what_is_of_no_use_changes_nothing(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs, copies and beams keep their own past when finished inputs leave the cache."""
    rows: list[int] = []
    stack = stacked([model(family, seed) for seed in range(6)], copies=3)

    def predict(inputs: Mapping[str, Any]) -> Tensor:
        rows.append(len(inputs["input_ids"]))
        return stack(inputs)

    texts, fewest = [], []
    for share in (0.0, 0.75, 1.0):  # never, as always, at every chance
        monkeypatch.setattr("gapbench.bench.tasks.generation._WORTH_KEEPING", share)
        rows.clear()
        texts.append(decoded(predict, random_prompts(8, seed=4), 2, beams=4))
        fewest.append(min(rows[1:]))
    assert texts[0] == texts[1] == texts[2]
    assert fewest[2] < fewest[0]


def test_decode_does_not_depend_on_how_prompts_are_batched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One prompt a batch or all together, and in any order: the same texts."""
    predict, prompts = predicting(model("t5")), random_prompts(8, seed=3)
    (whole,) = decoded(predict, prompts, beams=3)
    (reverse,) = decoded(predict, prompts[::-1], beams=3)
    monkeypatch.setattr("gapbench.bench.tasks.generation.MAX_TOKENS", 1)
    (single,) = decoded(predict, prompts, beams=3)
    assert whole == single == reverse[::-1]
