"""Encoder-decoders on tasks with prompts: the library's own tokens and losses, in any stack."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from torch.nn import functional as F

from gapbench.bench.adaptation.build import set_up, unsupported_reason
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import BackboneError, DataError
from gapbench.bench.data.batching import collate
from gapbench.bench.data.digests import backbone_digest
from gapbench.bench.execution import adapter_readme
from gapbench.bench.execution.export import write
from gapbench.bench.models import encoder_decoder, loading
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import get
from gapbench.bench.tasks.kinds.prompts import encode_pairs
from gapbench.bench.training.flops_and_time import FlopEstimate, count_operations, widths, work
from tests.support.causal_files import (
    CHOOSE,
    INSTRUCT,
    STORIES,
    TALK,
    TELL,
    WINDOW,
    Made,
    instructions,
    make,
    make_decoder,
    make_runs,
    make_task,
    tellings,
)
from tests.support.counting import counting
from tests.support.small_stack import CPU, train
from tests.support.small_suite import blank

FAMILIES = ("t5", "bart")
END = 3
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"dropout": 0.2, "targets": "all-linear"},
    "lora_dropout": {},
    "bilora": {},
    "flexora": {"search_share": 0.5},
    "lora_swa": {},
}
"""Methods of several kinds, with settings that show them in six steps."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a family's model."""
    folder = tmp_path_factory.mktemp("models")
    made = {family: make_decoder(folder / family, family) for family in FAMILIES}
    return made.__getitem__


def sequences(made: Made) -> list[tuple[list[int], list[int]]]:
    """Return prompt and what follows it of every test sequence."""
    split: Any = made.data.test
    whole = np.split(split.input_ids, split.offsets[1:-1])
    return [
        (each[:size].tolist(), each[size:].tolist())
        for each, size in zip(whole, split.prompts, strict=True)
    ]


def library_losses(made: Made, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Return the loss of every token of an answer as the library's own model has it."""
    model = made.plain()
    start = [model.config.decoder_start_token_id]
    forced = model.generation_config.forced_bos_token_id
    labels = [*([] if forced is None else [forced]), *answer]
    given = torch.tensor([[*start, *labels[:-1]]])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=given).logits[0]
    return F.cross_entropy(logits, torch.tensor(labels), reduction="none")[-len(answer) :]


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_and_answer_are_texts_of_their_own(
    family: str, folder: Callable[[str], Path]
) -> None:
    """The tokenizer's marks are around the prompt; the answer ends with the end of a text."""
    made = make(folder(family), make_task(TELL))
    split: Any = made.data.test
    tokenizer = made.backbone.tokenizer
    rows = get("generation").read(made.task, "test", tellings(12, 2))
    read = [tokenizer(each)["input_ids"] for each in rows.columns["prompt"]]
    references = [text for texts in rows.columns["references"] for text in texts]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in references]
    owners = np.repeat(np.arange(len(read)), np.diff(split.sequence_offsets))
    expected = [
        (read[owner], [*answer, END]) for owner, answer in zip(owners, answers, strict=True)
    ]
    assert sequences(made) == expected
    asked = split.asked_of(np.arange(len(split)))
    assert [each.tolist() for each in asked] == read


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("content", [TELL, INSTRUCT], ids=lambda content: content["name"])
def test_losses_are_the_librarys(family: str, content: Any, folder: Callable[[str], Path]) -> None:
    """Every token of every answer, whatever it is padded with."""
    made = make(folder(family), make_task(content))
    (losses,) = made.untuned()["loss"]
    expected = torch.cat([library_losses(made, *each) for each in sequences(made)])
    np.testing.assert_allclose(losses, expected.numpy(), rtol=0, atol=1e-9)


def test_mean_loss_is_that_of_labels(folder: Callable[[str], Path]) -> None:
    """The library takes labels for T5 and shifts them itself."""
    made = make(folder("t5"), make_task(TELL))
    prompt, answer = sequences(made)[0]
    model = made.plain()
    with torch.no_grad():
        own = model(input_ids=torch.tensor([prompt]), labels=torch.tensor([answer])).loss
    (losses,) = made.untuned()["loss"]
    assert losses[: len(answer)].mean() == pytest.approx(float(own), abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_choices_are_scored_after_their_question(
    family: str, folder: Callable[[str], Path]
) -> None:
    """The log-likelihood of each choice, without an end."""
    made = make(folder(family), make_task(CHOOSE))
    (logits,) = made.untuned()["logits"]
    expected = [-float(library_losses(made, *each).sum()) for each in sequences(made)]
    np.testing.assert_allclose(logits[logits > -1e8], expected, rtol=0, atol=1e-9)


def test_dialogue_goes_to_the_decoder_from_its_first_answer_on(
    folder: Callable[[str], Path],
) -> None:
    """Answers alone are targets; messages between them are read."""
    made = make(folder("t5"), make_task(TALK))
    split: Any = made.data.test
    (losses,) = made.untuned()["loss"]
    expected = []
    for number, (prompt, rest) in enumerate(sequences(made)):
        places, present = split.target_places(np.array([number]))
        whole = library_losses(made, prompt, rest)
        expected.append(whole[places[present] - len(prompt)])
        assert len(expected[-1]) < len(rest)
    np.testing.assert_allclose(losses, torch.cat(expected).numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_stack_trains_as_its_runs_do_alone(
    family: str, method: str, folder: Callable[[str], Path]
) -> None:
    """Two seeds train to the same logits and write the same texts together and alone."""
    made = make(folder(family), make_task(TELL))
    runs = make_runs(made.task, method, (0, 1), **METHODS[method])
    subset, kind = EvalSubset.of(made.data.test), get("generation")
    losses: list[Any] = []
    texts: list[Any] = []
    for stack in (runs, runs[:1], runs[1:]):
        trained = train(made.folder, stack, made.data)
        losses += [*kind.outputs(trained.method, trained.state, subset)["loss"]]
        given = trained.method, trained.state, subset, made.backbone.tokenizer
        texts += kind.finish(*given)["texts"].tolist()
    np.testing.assert_allclose(losses[:2], losses[2:], rtol=0, atol=1e-9)
    assert texts[:2] == texts[2:]
    assert not np.allclose(losses[0], losses[1])


@pytest.mark.parametrize(("family", "alpha", "beams"), [("t5", 64, 2), ("bart", 8, 1)])
def test_exported_adapter_writes_the_same_in_peft(
    family: str, alpha: float, beams: int, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """The code of its page, with PEFT's own model, writes the texts of the run."""
    decoding = {"beams": beams, "no_repeat_ngram": 3, "max_new_tokens": 8}
    made = make(folder(family), make_task(TELL, generation={"decoding": decoding}))
    runs = make_runs(made.task, "lora", targets="all-linear", rank=4, alpha=alpha)
    trained = train(made.folder, runs, made.data)
    write(tmp_path / "out", trained.method.export(trained.state, 0), {})
    model: Any = peft.PeftModel.from_pretrained(made.plain(), tmp_path / "out").eval()
    assert model.peft_config["default"].task_type == "SEQ_2_SEQ_LM"
    named = {"base_model_name_or_path": "owner/model", "revision": None}
    page = adapter_readme.page(blank(runs[0]), made.backbone, named)
    assert "AutoModelForSeq2SeqLM.from_pretrained('owner/model'" in page
    tokenizer, kind = made.backbone.tokenizer, get("generation")
    prompts = kind.read(made.task, "test", tellings(12, 2)).columns["prompt"]
    names: dict[str, Any] = {"tokenizer": tokenizer, "model": model, "prompts": prompts}
    exec(page.split("```python")[2].partition("```")[0], names)  # noqa: S102 - as a reader would
    given = trained.method, trained.state, EvalSubset.of(made.data.test), tokenizer
    (own,) = kind.finish(*given)["texts"]
    assert own.tolist() == names["texts"]
    assert len(set(own)) > 1


def test_text_without_a_prompt_is_refused(folder: Callable[[str], Path]) -> None:
    """An encoder would have nothing to read."""
    reason = loading.unsupported_reason(str(folder("t5")), Task.model_validate(STORIES))
    assert reason is not None
    assert "'t5' reads a prompt" in reason
    assert loading.unsupported_reason(str(folder("t5")), make_task(TELL)) is None


def test_answers_are_read_as_what_the_decoder_writes(folder: Callable[[str], Path]) -> None:
    """Marian has other words for them, and M2M100 another language before them."""
    made = make(folder("t5"), make_task(TELL))
    plain, asked = made.backbone.tokenizer, []

    class TwoSided:
        def __getattr__(self, name: str) -> Any:
            return getattr(plain, name)

        def __call__(self, text: Any = None, text_target: Any = None, **settings: Any) -> Any:
            asked.append("text" if text_target is None else "target")
            return plain(text if text_target is None else text_target, **settings)

    reader = replace(made.backbone.reader, tokenizer=TwoSided())
    pairs = [[("the cat", "is old")]]
    encode_pairs(made.task, "here", pairs, np.array([0]), reader)  # type: ignore[arg-type]
    assert asked.count("target") == 1
    table = instructions(4, 0)
    reader.tokenizer.__dict__["spm_target"] = None
    kind, task = get("instruction"), make_task(INSTRUCT)
    with pytest.raises(BackboneError, match="words of their own, but a dialogue is one text"):
        kind.encode(task, "here", kind.read(task, "here", table), reader)


def test_what_the_decoder_begins_with_is_part_of_the_identity(tmp_path: Path) -> None:
    """For encoder-decoders alone, so that other backbones keep theirs."""
    for family, counts in (("bart", True), ("gpt2", False)):
        made = make_decoder(tmp_path / family, family)
        before = backbone_digest(made, None)
        _write(made / "generation_config.json", forced_bos_token_id=7)
        assert (backbone_digest(made, None) != before) == counts


@pytest.mark.parametrize("family", FAMILIES)
def test_page_of_choices_gives_the_likelihoods_of_the_run(
    family: str, folder: Callable[[str], Path]
) -> None:
    """Its code reads what the decoder began with, a forced token included."""
    made = make(folder(family), make_task(CHOOSE))
    named = {"base_model_name_or_path": "owner/model", "revision": None}
    page = adapter_readme.page(blank(make_runs(made.task)[0]), made.backbone, named)
    tokenizer = made.backbone.tokenizer
    prompts, answers = zip(*sequences(made), strict=True)
    names: dict[str, Any] = {
        "tokenizer": tokenizer,
        "model": made.plain(),
        "prompts": tokenizer.batch_decode(prompts, skip_special_tokens=True),
        "answers": tokenizer.batch_decode(answers),
    }
    exec(page.split("```python")[2].partition("```")[0], names)  # noqa: S102 - as a reader would
    losses = F.cross_entropy(
        names["logits"].transpose(1, 2), names["targets"], reduction="none", ignore_index=0
    )
    (logits,) = made.untuned()["logits"]
    found = -losses.sum(1).detach().numpy()
    np.testing.assert_allclose(found, logits[logits > -1e8], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", ["neftune", "unified_dropout"])
def test_noise_on_embeddings_is_refused(method: str, folder: Callable[[str], Path]) -> None:
    """The embedding that the library names is not the one that its encoder and decoder call."""
    settings = {"embedding_rate": 0.1} if method == "unified_dropout" else {}
    made = make(folder("t5"), make_task(TELL))
    cell = make_runs(made.task, method, **settings)[0].cell
    reason = unsupported_reason(cell, made.backbone)
    assert reason is not None
    assert "embeds words twice" in reason


def test_start_of_the_decoder_is_asked_for_as_the_library_does(tmp_path: Path) -> None:
    """Its own token, else that which begins texts; a backbone with neither is refused."""
    made = make_decoder(tmp_path, "t5")
    place = tmp_path / "generation_config.json"
    for own, begun in (({"decoder_start_token_id": 5}, [5]), ({}, [2])):
        _write(made / "config.json", decoder_start_token_id=None)
        place.write_text(json.dumps({"bos_token_id": 2} | own))
        assert encoder_decoder.beginning(make(tmp_path, make_task(TELL)).plain()) == begun
    _write(made / "config.json", bos_token_id=None)
    place.write_text("{}")
    loading.load.cache_clear()
    with pytest.raises(BackboneError, match="name it as 'decoder_start_token_id'"):
        make(tmp_path, make_task(TELL))


def _write(place: Path, **fields: Any) -> None:
    place.write_text(json.dumps(json.loads(place.read_text()) | fields))


def test_prompt_and_answer_have_room_of_their_own(folder: Callable[[str], Path]) -> None:
    """A long answer cuts no prompt; each is cut or refused by itself."""
    decoding = {"beams": 1, "no_repeat_ngram": 0, "max_new_tokens": WINDOW - 2}
    task = make_task(TELL, max_length=WINDOW, generation={"decoding": decoding})
    long = {"who": ["cat"] * 4, "what": ["red and " * 25] * 4, "telling": ["a cat is " * 15] * 4}
    data = make(folder("bart"), task, dict.fromkeys(("train", "validation", "test"), long)).data
    split: Any = data.test
    assert split.prompts.tolist() == [WINDOW] * 4
    assert split.target_counts.tolist() == [46] * 4
    assert split.cut.tolist() == [True]
    assert split.input_ids[WINDOW - 1] == END
    with pytest.raises(DataError, match="positions, including those of what comes before"):
        make(
            folder("bart"),
            make_task(TELL, generation={"decoding": decoding | {"max_new_tokens": 47}}),
        )


@pytest.mark.parametrize(
    ("family", "content"), [("t5", TELL), ("bart", TELL), ("t5", TALK)], ids=["t5", "bart", "talk"]
)
def test_operations_follow_from_both_widths(
    family: str, content: Any, folder: Callable[[str], Path]
) -> None:
    """Those of other steps are told from few counted ones, whichever prompts and answers meet."""
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {
        "who": ["cat"] * 64,
        "what": [" ".join(["red"] * n) for n in rng.integers(1, 30, 64)],
        "telling": [" ".join(["a"] * n) for n in rng.integers(1, 30, 64)],
    }
    if content is TALK:  # and a last message that nobody answers
        said = zip(table["what"], table["telling"], table["what"][::-1], strict=True)
        roles = ("user", "assistant", "user")
        table = {
            "messages": [
                [{"role": r, "content": text} for r, text in zip(roles, each, strict=True)]
                for each in said
            ]
        }
    tables = dict.fromkeys(("train", "validation", "test"), table)
    made = make(folder(family), make_task(content, max_length=WINDOW), tables)
    method, state = set_up(make_runs(made.task), made.backbone, made.data, CPU)
    estimate, split = FlopEstimate(), made.data.train
    truth, done = 0.0, np.zeros(8)
    for _ in range(30):
        drawn = rng.choice(len(split), 4, replace=False)
        step = work(4, *widths(split, drawn, apart=True))
        with count_operations() as counter:
            method.batch_losses(state, collate(split, drawn[None], CPU)).sum().backward()
        with counting():
            wanted = estimate.wants({"train": step})
        if wanted:
            estimate.counted.append(({"train": step}, counter.get_total_flops()))
        truth, done = truth + counter.get_total_flops(), done + step
    assert len(estimate.counted) < 10
    assert estimate.total({"train": done}) == pytest.approx(truth, rel=1e-6)
