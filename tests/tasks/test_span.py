"""Extractive question answering: windows, answers and scores are what plain models say they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.config import task as task_config
from gapbench.bench.data.sources import Sources
from gapbench.bench.metrics import squad
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.dataset import prepare
from gapbench.bench.tasks.eval_subset import EvalSubset
from gapbench.bench.tasks.kinds import Outputs, of_run
from gapbench.bench.tasks.kinds.span import SpanSplit, best_spans
from tests.support import small_suite
from tests.support.causal_files import Made, make, make_runs
from tests.support.small_stack import CPU, MakeBackbone, load_backbone
from tests.support.span_files import (
    SIZES,
    Rows,
    encode,
    make_task,
    questions,
    word_reader,
    write_suite,
)

FAMILIES = ("bert", "roberta", "deberta-v2", "llama", "gpt2")
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"dropout": 0.2},
    "hiddenkey": {},
    "lora_dropout": {},
    "lora_ensemble": {"members": 2},
    "bilora": {},
    "flexora": {"search_share": 0.5},
    "full": {},
    "bitfit": {},
    "head": {},
}


def close(actual: Any, expected: Any) -> None:
    """Check that numbers agree to 1e-9."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def made(make_backbone: MakeBackbone) -> Callable[..., Made]:
    """Return a function that encodes a task's small tables for a random backbone."""

    def build(family: str = "bert", version: str = "1.1") -> Made:
        answerable = 1.0 if version == "1.1" else 0.6
        tables = {name: questions(n, name, answerable=answerable) for name, n in SIZES.items()}
        return make(make_backbone(family), make_task(version), tables)

    return build


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_best_span_is_that_of_a_search_over_all(longest: int) -> None:
    """No legal span scores higher than the one returned, and its score is the sum of its ends."""
    logits = torch.randn(5, 4, 2, 13, generator=torch.Generator().manual_seed(longest)).double()
    found = best_spans(logits, longest)
    for place in np.ndindex(5, 4):
        starts, ends = logits[place].numpy()
        legal = {
            (first, last): starts[first] + ends[last]
            for first in range(1, 13)
            for last in range(first, min(13, first + longest))
        }
        best = max(legal, key=lambda span: legal[span])
        assert (int(found["first"][place]), int(found["last"][place])) == best
        assert float(found["score"][place]) == legal[best]


def plain_answers(made: Made, weights: Any, version: str) -> dict[str, Any]:
    """Return answers and loss by the library's own model, window by window, without padding."""
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(made.folder)
    model.double().eval().load_state_dict(weights)
    split = made.data.test
    assert isinstance(split, SpanSplit)
    texts, scores, nulls, losses = [], [], [], []
    for unit in range(len(split)):
        candidates, none = [], []
        for window in split.sequences(np.array([unit])):
            offset, (begin, end) = split.offsets[window], split.context[window]
            inputs = {"input_ids": torch.from_numpy(split.input_ids[offset:][: end + 1]).long()}
            inputs["input_ids"] = inputs["input_ids"][: split.lengths[window]]
            if split.token_type_ids is not None:
                types = split.token_type_ids[offset : offset + split.lengths[window]]
                inputs["token_type_ids"] = torch.from_numpy(types).long()
            with torch.no_grad():
                made_here = model(**{name: ids.unsqueeze(0) for name, ids in inputs.items()})
            allowed = [0, *range(begin, end)]
            logits = [made_here.start_logits[0, allowed], made_here.end_logits[0, allowed]]
            wanted = [allowed.index(place) for place in split.spans[window]]
            losses += [
                float(-ends.log_softmax(0)[w]) for ends, w in zip(logits, wanted, strict=True)
            ]
            none.append(float(logits[0][0] + logits[1][0]))
            for first in range(1, len(allowed)):
                for last in range(first, min(first + 4, len(allowed))):
                    places = split.characters[[offset + allowed[first], offset + allowed[last]]]
                    score = float(logits[0][first] + logits[1][last])
                    candidates.append((score, places[0, 0], places[1, 1]))
        score, start, stop = max(candidates)
        refused = version == "2.0" and min(none) > score
        texts.append("" if refused else split.texts[unit]["context"][start:stop])
        scores.append(score)
        nulls.append(min(none))
    return {"text": texts, "score": scores, "null_score": nulls, "loss": np.mean(losses)}


@pytest.mark.parametrize("version", ["1.1", "2.0"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_plain_model(
    family: str, version: str, made: Callable[..., Made]
) -> None:
    """A stack's padded batches answer as a search over the merged model's unpadded windows."""
    here = made(family, version)
    trained = here.train("lora", [3, 4])
    subset, kind = EvalSubset.of(here.data.test), kinds.get("span")
    outputs = kind.outputs(trained.method, trained.state, subset)
    for position in range(2):
        weights = trained.method.merge(trained.state, position)
        expected = plain_answers(here, weights, version)
        own = of_run(outputs, position)
        table = kind.table(own, subset).to_pydict()
        assert table["text"] == expected["text"]
        for name in ("score", "null_score"):
            close(table[name], expected[name])
        scores = kind.score(here.task, own, subset, ["exact_match", "span_f1"])
        assert scores.loss == pytest.approx(expected["loss"], abs=1e-9)
        accepted = [given["text"] for given in questions_of(here, version)["answers"]]
        found, span = table["text"], here.task.span
        assert span is not None
        official = squad.exact_match(found, accepted, span.version)
        assert scores.metrics["exact_match"] == official
        assert scores.metrics["span_f1"] == squad.f1(found, accepted, span.version)


def questions_of(here: Made, version: str) -> Rows:
    """Return the test rows that `made` encodes."""
    return questions(len(here.data.test), "test", answerable=1.0 if version == "1.1" else 0.6)


def test_answers_do_not_depend_on_the_batch(made: Callable[..., Made]) -> None:
    """A question asked alone gets the answer and scores that it gets among others."""
    here = made(version="2.0")
    trained = here.train("lora", [0, 1])
    split, kind = here.data.test, kinds.get("span")
    whole = kind.outputs(trained.method, trained.state, EvalSubset.of(split))
    for unit in range(len(split)):
        alone = kind.outputs(trained.method, trained.state, EvalSubset(split, np.array([unit])))
        for name in ("score", "null_score", "start", "stop"):
            close(alone[name][:, 0], whole[name][:, unit])


def test_no_answer_is_given_only_where_every_window_prefers_it() -> None:
    """In version 2.0 the lowest score of no answer counts; version 1.1 always answers."""
    context = "a b c d e f g h i j k l"
    rows: Rows = {
        "question": ["x"],
        "context": [context],
        "answers": [{"text": ["b"], "answer_start": [2]}],
    }
    kind, reader = kinds.get("span"), word_reader(8)
    for version, windows_preferring, expected in (("2.0", 2, ""), ("2.0", 1, "a"), ("1.1", 2, "a")):
        task = make_task(version, span={"stride": 1})
        split = encode(task, rows, reader)
        assert len(split.lengths) == 2
        state, method = _Fixed(task, windows_preferring), _Fixed(task, windows_preferring)
        outputs = kind.outputs(method, state, EvalSubset.of(split))  # type: ignore[arg-type]
        assert kind.table(of_run(outputs, 0), EvalSubset.of(split))["text"].to_pylist() == [
            expected
        ]


class _Fixed:
    """Stands for method and state: one run that likes the context's first token, or no answer."""

    def __init__(self, task: task_config.Task, preferring: int) -> None:
        self.task, self.preferring = task, preferring
        self.model, self.axis = torch.nn.Identity(), self
        self.size, self.device, self.reads_first_only = 1, CPU, False

    def predict(self, _state: object, batch: Any) -> torch.Tensor:
        """Return logits (windows, 2, tokens): 1 at token 1, and at token 0 either 2 or 0."""
        rows, tokens = batch.inputs["input_ids"].shape
        logits = torch.zeros(rows, 2, tokens)
        logits[:, :, 1] = 1.0
        logits[: self.preferring, :, 0] = 2.0
        return logits


@pytest.mark.parametrize("method", METHODS)
def test_method_trains_on_spans(method: str, made: Callable[..., Made]) -> None:
    """Every kind of method takes two decisions a window, and its numbers change."""
    here = made(version="2.0")
    seeds = [0, 1] if registry.get(method).stackable else [0]
    trained = here.train(method, seeds, **METHODS[method])
    assert all(trace.diverged is None for trace in trained.trainer.traces)
    losses = [[point.train_loss for point in t.curve] for t in trained.trainer.traces]
    assert all(last < first for first, *_, last in losses)


@pytest.mark.parametrize("method", ["lora", "lora_dropout", "lora_ensemble"])
def test_stacked_runs_equal_solo_runs(method: str, made: Callable[..., Made]) -> None:
    """Outputs and trained numbers of a run in a stack are those of the run alone."""
    here = made(version="2.0")
    stacked = here.train(method, [5, 6, 7], **METHODS[method])
    whole = _outputs(here, stacked)
    for position, seed in enumerate([5, 6, 7]):
        solo = here.train(method, [seed], **METHODS[method])
        close(list(stacked.parameters())[position], next(solo.parameters()))
        for name, values in _outputs(here, solo).items():
            close(whole[name][position], values[0])


def _outputs(here: Made, trained: Any) -> Outputs:
    return kinds.get("span").outputs(trained.method, trained.state, EvalSubset.of(here.data.test))


@pytest.mark.parametrize(
    ("family", "head"),
    [
        *((family, head) for family in FAMILIES for head in ("", "ForQuestionAnswering")),
        ("llama", "ForCausalLM"),
        ("gpt2", "ForCausalLM"),
    ],
)
def test_head_for_spans_is_drawn_anew_for_every_run(
    family: str, head: str, make_backbone: MakeBackbone, tmp_path: Path
) -> None:
    """Whatever head a checkpoint holds, its body is kept and each run has a head of its seed."""
    plain = make_backbone(family)
    config = transformers.AutoConfig.from_pretrained(plain)
    torch.manual_seed(1)
    body = transformers.AutoModel.from_pretrained(plain)
    model = getattr(transformers, f"AutoModel{head}").from_config(config)
    getattr(model, model.base_model_prefix, model).load_state_dict(body.state_dict(), strict=False)
    model.save_pretrained(tmp_path / "backbone")
    transformers.AutoTokenizer.from_pretrained(plain).save_pretrained(tmp_path / "backbone")
    runs = make_runs(make_task(), "head", [0, 1])
    backbone = load_backbone(tmp_path / "backbone", runs)
    assert backbone.head == ("qa_outputs",)
    loaded = dict(backbone.model().named_parameters())
    for name, values in body.named_parameters():
        own = [key for key in loaded if key.endswith(f".{name}")]
        assert own or name.startswith("pooler")
        assert all(torch.equal(loaded[key], values.double()) for key in own)
    tables = {name: questions(n, name) for name, n in SIZES.items()}
    data = make(tmp_path / "backbone", make_task(), tables).data
    _, state = set_up(runs, backbone, data, CPU)
    weight = state.model.get_parameter("qa_outputs.weight")
    assert weight.shape == (2, 2, 24)
    assert not torch.equal(weight[0], weight[1])


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_files_to_answers_a_tuned_encoder_finds_what_an_untuned_one_does_not(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From parquet files to records: what is asked for is found, or said to be absent."""
    words: dict[str, Any] = {
        "nouns": ("dog", "cat", "horse", "goat", "cow", "monkey", "bear", "pig", "car", "truck"),
        "colours": ("big", "small", "old", "red", "green", "blue"),
        "phrases": (4, 8),
        "answerable": 1.0 if version == "1.1" else 0.6,
    }
    tables = {name: questions(n, name, **words) for name, n in {"train": 240, "test": 60}.items()}
    path, data = write_suite(
        tmp_path,
        make_task(version, validation_size=40, span={"stride": 6}),
        "tiny-encoder",
        tables,
        methods=["untuned", "lora"],
        seeds=1,
        budget={"steps": 60, "batch_size": 16, "evaluations": 1},
        training={"learning_rate": 5e-3},
    )
    results = tmp_path / "results"
    flags = ("--data", data, "--results", results, "--workers", 1)
    assert small_suite.call(capsys, "run", path, *flags).code == 0
    records = [json.loads(file.read_text()) for file in results.glob("runs/**/*.json")]
    scores = {r["cell"]["method"]: r["splits"]["test"]["metrics"] for r in records}
    assert scores["untuned"]["span_f1"] < 0.3
    assert scores["lora"]["span_f1"] > 0.9
    assert scores["lora"]["exact_match"] > 0.9
    (file,) = results.glob("runs/**/lora/**/seed-0.parquet")
    table = pd.read_parquet(file)
    items = ["item_span_f1", "item_exact_match"]
    assert list(table.columns) == ["example_id", "text", "score", "null_score", *items]
    if version == "2.0":
        empty = [not given["text"] for given in tables["test"]["answers"]]
        assert np.mean((table["text"] == "") == empty) > 0.9


def test_texts_stay_on_one_side_of_the_validation_cut(
    tmp_path: Path, make_backbone: MakeBackbone
) -> None:
    """Questions on one article are all trained on or all held out."""
    task, folder = make_task(), make_backbone("bert")
    tables = {name: questions(n, name) for name, n in SIZES.items()}
    _, data = write_suite(tmp_path, task, str(folder), tables)
    (run,) = make_runs(task)
    sources = Sources(data)
    cell = run.cell.model_copy(update={"data": sources.data(task)})
    made = prepare(cell, sources, load_backbone(folder, [run]).reader)
    titles = [
        {tables["train"]["title"][row] for row in split.example_ids}
        for split in (made.train, made.validation)
    ]
    assert not titles[0] & titles[1]
    assert len(made.train) + len(made.validation) == SIZES["train"]
