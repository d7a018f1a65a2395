"""Generated texts: stacked as alone, as the library writes them, scored by part and in order."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.core.errors import DataError
from gapbench.bench.data.encoded import CausalSplit
from gapbench.bench.metrics.base import compute
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds.base import of_run
from tests.support.causal_files import (
    COLOURS,
    FAMILIES,
    METHODS,
    NOUNS,
    TALK,
    TELL,
    WINDOW,
    Made,
    make,
    make_task,
    tellings,
)

ANSWER = TALK | {
    "instruction": {"messages": True, "decoding": TELL["generation"]["decoding"]},
    "metrics": ["rouge_l", "token_accuracy"],
    "checkpoint_metric": "perplexity",
}


@pytest.mark.parametrize("content", [TELL, ANSWER], ids=["generation", "instruction"])
@pytest.mark.parametrize("method", METHODS)
def test_stacked_runs_equal_solo_runs_in_parameters_and_texts(
    method: str, content: dict[str, Any], decoder: Callable[[str], Path]
) -> None:
    """After six steps, runs of a stack have the numbers of runs alone, and write their texts."""
    made, seeds = make(decoder("llama"), make_task(content)), (0, 1, 2)
    together = made.train(method, seeds, **METHODS[method])
    written = texts(made, together)
    rows = list(together.parameters())
    assert not torch.equal(rows[0], rows[1])
    for position, seed in enumerate(seeds):
        alone = made.train(method, (seed,), **METHODS[method])
        (own,) = alone.parameters()
        torch.testing.assert_close(own, rows[position], rtol=0, atol=1e-9)
        assert written[position] == texts(made, alone)[0]


def texts(made: Made, trained: Any) -> list[list[str]]:
    """Return what each run of a stack writes for the test inputs."""
    kind = kinds.get(made.task.kind)
    subset = EvalSubset.of(made.data.test)
    found = kind.finish(trained.method, trained.state, subset, made.backbone.tokenizer)
    return [list(own) for own in found["texts"]]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_of_the_library_on_the_merged_model(
    family: str, beams: int, decoder: Callable[[str], Path]
) -> None:
    """A trained run writes what the model library's own search writes with its plain weights."""
    decoding = {"beams": beams, "length_penalty": 0.9, "no_repeat_ngram": 3, "max_new_tokens": 8}
    made = make(decoder(family), make_task(TELL, generation={"decoding": decoding}))
    trained = made.train("lora", (0, 1))
    written = texts(made, trained)
    split, tokenizer = made.data.test, made.backbone.tokenizer
    assert isinstance(split, CausalSplit)
    for position in (0, 1):
        model = made.plain()
        model.load_state_dict(trained.method.merge(trained.state, position))
        for unit, text in enumerate(written[position]):
            start = split.offsets[split.sequence_offsets[unit]]
            prompt = torch.from_numpy(
                split.input_ids[start:][: split.prompts[split.sequence_offsets[unit]]]
            )
            made_by_it = generated(model, prompt.long()[None], decoding)
            assert text == tokenizer.decode(made_by_it, skip_special_tokens=True).strip()


def generated(model: Any, prompt: torch.Tensor, decoding: dict[str, Any]) -> list[int]:
    """Return what the model library writes after a prompt."""
    beams = decoding["beams"]
    with torch.inference_mode():
        found = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            early_stopping=False,
            num_beams=beams,
            length_penalty=decoding["length_penalty"] if beams > 1 else None,
            no_repeat_ngram_size=decoding["no_repeat_ngram"],
            max_new_tokens=decoding["max_new_tokens"],
        )
    tokens: list[int] = found[0, prompt.shape[1] :].tolist()
    return tokens


def test_scores_of_texts_are_also_given_by_part(decoder: Callable[[str], Path]) -> None:
    """A part's metrics are those of its texts alone; blank values belong to none."""
    table: dict[str, Any] = tellings(12, 2)
    table["topic"] = ["pets" if who in {"cat", "dog"} else "" for who in table["who"]]
    task = make_task(
        TELL, generation=TELL["generation"] | {"parts": "topic"}, metrics=["bleu", "chrf"]
    )
    train = {"train": tellings(24, 0), "validation": tellings(10, 1)}
    made = make(decoder("gpt2"), task, train | {"test": table})
    kind, subset = kinds.get("generation"), EvalSubset.of(made.data.test)
    rows = kind.read(task, "task 'tell', split 'test'", table)
    written = np.array([each[0] for each in rows.columns["references"]], dtype=object)
    written[::2] = "a hen"
    outputs = of_run(made.untuned(), 0) | {"texts": written}
    scores = kind.score(task, outputs, subset, ["bleu", "chrf", "perplexity"])
    pets = [i for i, prompt in enumerate(rows.columns["prompt"]) if prompt[:3] in {"cat", "dog"}]
    references = [rows.columns["references"][i] for i in pets]
    expected = compute(["bleu", "chrf"], {"texts": ([written[i] for i in pets], references)})
    assert 0 < len(pets) < len(rows)
    assert scores.parts == {"pets": expected}
    assert scores.metrics["chrf"] not in (None, expected["chrf"])
    with pytest.raises(DataError, match="no column 'topic'"):
        kind.read(task, "task 'tell', split 'test'", tellings(4, 0))


def test_texts_end_before_the_first_stop(decoder: Callable[[str], Path]) -> None:
    """What follows a stop is left out, wherever the stop is in the text."""
    plain, content = make(decoder("llama"), make_task(TELL)), TELL["generation"]["decoding"]
    whole = texts(plain, plain.train("lora", (0,)))[0]
    stop = max(NOUNS + COLOURS, key=lambda word: sum(word in text for text in whole))
    task = make_task(TELL, generation={"decoding": content | {"stop": [stop, "cat and"]}})
    stopped = make(decoder("llama"), task)
    found = texts(stopped, stopped.train("lora", (0,)))[0]
    assert found == [re.split(f"{stop}|cat and", text)[0].strip() for text in whole]
    assert found != whole


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_leaves_room_for_what_is_written(
    family: str, decoder: Callable[[str], Path]
) -> None:
    """No text that is decoded after a prompt runs past the model's places; cut ones are counted."""
    rows = {"who": ["cat", "dog"], "what": ["red " * 60 + "old", "shy"], "telling": ["a cat"] * 2}
    tables = dict.fromkeys(("train", "validation", "test"), rows)
    decoding = {"beams": 2, "no_repeat_ngram": 0, "max_new_tokens": 40}
    made = make(decoder(family), make_task(TELL, generation={"decoding": decoding}), tables)
    split = made.data.test
    assert isinstance(split, CausalSplit)
    assert split.prompts.max() == WINDOW - 40
    assert split.cut is not None
    assert split.cut.tolist() == [True, False]
    assert len(texts(made, made.train("lora", (0,)))[0]) == 2
