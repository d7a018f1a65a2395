"""Generation and choice from files to records, reports and adapters, as a user runs them."""

import json
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peft
import pytest
import torch
import transformers
import yaml

from gapbench.bench.cli.main import main
from gapbench.bench.metrics.base import compute
from gapbench.bench.metrics.calibration import log_softmax
from gapbench.bench.store.record import Record, Status
from gapbench.bench.store.store import Store
from gapbench.bench.tasks import kinds
from gapbench.bench.tasks.eval_subset import EvalSubset
from tests.support.causal_files import (
    CHOOSE,
    TALK,
    TELL,
    make,
    make_decoder,
    make_task,
    questions,
    talks,
    tellings,
)
from tests.support.small_suite import call

SIZES = {"train": 40, "test": 20}
METHODS = ["lora", "untuned", "head", "majority"]


@dataclass(frozen=True)
class Done:
    """A finished suite: where it is, and the record of each task and method."""

    folder: Path
    records: dict[tuple[str, str], Record]

    def predictions(self, task: str, method: str) -> pd.DataFrame:
        """Return the stored test predictions."""
        table = Store(self.folder / "results").predictions(self.records[task, method].run)
        assert table is not None
        return pd.DataFrame(table.to_pydict())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A suite of the tasks on a small Llama, all of it run."""
    folder = tmp_path_factory.mktemp("causal")
    make_decoder(folder / "decoder", "llama")
    (folder / "tasks").mkdir()
    parted = TELL | {"generation": TELL["generation"] | {"parts": "who"}}
    for content, draw in ((parted, tellings), (CHOOSE, questions), (TALK, talks)):
        name = str(content["name"])
        (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(content))
        (folder / "data" / name).mkdir(parents=True)
        for seed, (split, n) in enumerate(SIZES.items()):
            pd.DataFrame(draw(n, seed)).to_parquet(folder / "data" / name / f"{split}.parquet")
    suite = {
        "name": "causal",
        "tasks": ["tell", "choose", "talk"],
        "backbones": [str(folder / "decoder")],
        "methods": METHODS,
        "seeds": 1,
        "budget": {"steps": 8, "batch_size": 4, "evaluations": 2},
        "training": {"learning_rate": 0.02},
    }
    (folder / "causal.yaml").write_text(yaml.safe_dump(suite))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAPBENCH_CACHE", str(folder / "cache"))
        read = run(folder, "causal.yaml", folder / "results")
        yield Done(folder, {(r.cell.task.name, r.cell.method): r for r in read})


def run(folder: Path, suite: str, results: Path) -> list[Record]:
    """Run a suite file of the folder to its end and return the records."""
    where = ["--data", str(folder / "data"), "--results", str(results)]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        assert main(["run", str(folder / suite), *where, "--workers", "1"]) == 0
    return [record for record in Store(results).records() if isinstance(record, Record)]


@pytest.mark.parametrize("method", ["lora", "untuned"])
def test_generation_record_holds_token_and_text_scores(done: Done, method: str) -> None:
    """All metrics are on test, the cheap ones on every split, and gaps are their differences."""
    record = done.records["tell", method]
    assert record.status == Status.OK
    tokens = {"perplexity", "token_accuracy", "token_ece"}
    for split, scores in record.splits.items():
        assert scores.metrics.keys() == tokens | {"bleu"} | (
            {"rouge_l"} if split == "test" else set()
        )
        assert scores.metrics["perplexity"] == pytest.approx(math.exp(scores.loss), rel=1e-12)
    train, test = (
        {name: value or 0.0 for name, value in record.splits[split].metrics.items()}
        for split in ("train", "test")
    )
    assert record.gaps.keys() == train.keys()
    assert record.gaps["perplexity"] == test["perplexity"] - train["perplexity"]
    assert record.gaps["token_accuracy"] == train["token_accuracy"] - test["token_accuracy"]
    assert record.generalization_gap == record.gaps["bleu"] == train["bleu"] - test["bleu"]
    assert record.calibration is not None
    assert record.calibration.ece == test["token_ece"]
    assert record.calibration.nll == record.splits["test"].loss
    assert record.calibration.temperature is record.calibration.ece_calibrated is None


def test_checkpoint_of_generation_is_the_one_of_least_perplexity(done: Done) -> None:
    """Perplexity on validation chooses, lower being better, and texts are not asked."""
    record = done.records["tell", "lora"]
    points = [point for point in record.curve if point.step]
    assert record.checkpoint is not None
    best = min(points, key=lambda point: point.validation_score or math.inf)
    assert record.checkpoint.step == best.step
    assert best.validation_score == pytest.approx(math.exp(best.validation_loss))
    assert record.checkpoint.validation_score == pytest.approx(best.validation_score, abs=1e-9)
    assert record.splits["test"].loss < (record.curve[0].test_loss or 0.0)


def test_stored_texts_score_what_the_record_says(done: Done) -> None:
    """The parquet file has one text an input; its metrics and mean loss are the record's."""
    record, table = done.records["tell", "lora"], done.predictions("tell", "lora")
    rows = kinds.get("generation").read(record.cell.task, "here", tellings(20, 1))
    assert table["example_id"].tolist() == rows.numbers.tolist()
    found = compute(
        ["bleu", "rouge_l"], {"texts": (list(table["text"]), rows.columns["references"])}
    )
    scores = record.splits["test"]
    assert {name: scores.metrics[name] for name in found} == found
    assert scores.parts.keys() == {"cat", "dog", "bird", "fox", "hen"}
    assert np.average(table["loss"], weights=table["tokens"]) == pytest.approx(scores.loss)
    assert table["tokens"].sum() == sum(
        len(text.split()) + 1 for texts in rows.columns["references"] for text in texts
    )


def test_instruction_record_holds_the_loss_of_all_answer_tokens(done: Done) -> None:
    """The loss is the mean over tokens, perplexity chooses, and no text is written."""
    record, table = done.records["talk", "lora"], done.predictions("talk", "lora")
    scores, dialogues = record.splits["test"], talks(20, 1)["messages"]
    answers = [m["content"] for messages in dialogues for m in messages if m["role"] == "assistant"]
    assert table["tokens"].sum() == sum(len(text.split()) + 1 for text in answers)
    assert np.average(table["loss"], weights=table["tokens"]) == pytest.approx(scores.loss)
    assert scores.metrics["perplexity"] == pytest.approx(math.exp(scores.loss), rel=1e-12)
    assert scores.metrics.keys() == {"perplexity", "token_accuracy", "token_ece"}
    assert scores.metrics["perplexity"] == record.score("test")
    assert record.checkpoint is not None
    points = [point for point in record.curve if point.step]
    best = min(points, key=lambda point: point.validation_loss)
    assert record.checkpoint.step == best.step
    assert scores.loss < (done.records["talk", "untuned"].splits["test"].loss)
    assert "text" not in table


@pytest.mark.parametrize("method", ["lora", "untuned"])
def test_choice_record_agrees_with_the_stored_likelihoods(done: Done, method: str) -> None:
    """Accuracies and loss follow from the parquet file; a temperature is fitted."""
    record, table = done.records["choose", method], done.predictions("choose", method)
    scores, options = record.splits["test"], questions(20, 1)["choices"]
    logits = table.filter(like="logit_").to_numpy()
    labels = table["label"].to_numpy()
    sizes = [[len(text) for text in texts] + [1] * (4 - len(texts)) for texts in options]
    assert scores.metrics == {
        "accuracy": np.mean(np.nanargmax(logits, axis=1) == labels),
        "accuracy_norm": np.mean(np.nanargmax(logits / np.array(sizes), axis=1) == labels),
    }
    chosen = log_softmax(np.nan_to_num(logits, nan=-1e9))[np.arange(20), labels]
    assert scores.loss == pytest.approx(-chosen.mean(), abs=1e-9)
    assert record.calibration is not None
    assert record.calibration.temperature is not None
    assert record.calibration.nll_calibrated is not None
    assert record.gaps.keys() == {"accuracy", "accuracy_norm"}


@pytest.mark.parametrize("task", ["tell", "choose", "talk"])
def test_methods_without_a_head_to_train_are_skipped(done: Done, task: str) -> None:
    """A head alone and a constant answer have no meaning here, and their records say so."""
    head, majority = done.records[task, "head"], done.records[task, "majority"]
    assert head.status == majority.status == Status.SKIPPED
    assert "has no head of its own" in str(head.detail)
    assert "is the same for all examples" in str(majority.detail)


def test_encoder_is_skipped_with_the_reason(
    done: Done, make_backbone: Callable[[str], Path], tmp_path: Path
) -> None:
    """A backbone that writes no text is not trained, and its records say why."""
    content = yaml.safe_load((done.folder / "causal.yaml").read_text())
    content |= {"name": "encoder", "backbones": [str(make_backbone("bert"))]}
    (done.folder / "encoder.yaml").write_text(yaml.safe_dump(content))
    skipped = run(done.folder, "encoder.yaml", tmp_path / "results")
    assert len(skipped) == 3 * len(METHODS)
    for record in skipped:
        assert record.status == Status.SKIPPED
        assert "'bert' writes no text" in str(record.detail)


def test_report_shows_all_tasks(
    done: Done, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The tables have the main metric of each task, and the others as columns of their own."""
    out = tmp_path / "report"
    answer = call(capsys, "report", done.folder / "results", "--out", out)
    assert answer.code == 0, answer.err
    rows = pd.read_csv(next(out.rglob("runs.csv"))).to_dict("records")
    assert len(rows) == len(done.records)
    for row in rows:
        record = done.records[row["task"], row["method"]]
        assert row["status"] == record.status
        if record.status == Status.OK:
            assert row["metric"] == record.cell.task.metrics[0]
            assert row["test_score"] == pytest.approx(record.score("test"))
            assert row["ece"] == pytest.approx(
                record.calibration.ece if record.calibration else None
            )
            for part, scores in record.splits["test"].parts.items():
                assert row[f"test/bleu/{part}"] == pytest.approx(scores["bleu"])
            for name in record.cell.task.metrics[1:]:
                assert row[f"test/{name}"] == pytest.approx(record.splits["test"].metrics[name])


def test_exported_adapter_writes_the_stored_texts_in_peft(
    done: Done, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """PEFT loads the folder as a causal language model, which writes what the run wrote."""
    store, record = Store(done.folder / "results"), done.records["tell", "lora"]
    arguments = ["--results", store.root, "--data", done.folder / "data"]
    arguments += ["--backbone", done.folder / "decoder", "--out", tmp_path / "out"]
    answer = call(capsys, "export", store.record_path(record.run), *arguments)
    assert answer.code == 0, answer.err
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["task_type"] == "CAUSAL_LM"
    assert config["modules_to_save"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(done.folder / "decoder")
    rows = kinds.get("generation").read(record.cell.task, "here", tellings(20, 1))
    for prompt, text in zip(
        rows.columns["prompt"], done.predictions("tell", "lora")["text"], strict=True
    ):
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            found = model.generate(
                **inputs, do_sample=False, num_beams=2, early_stopping=False, length_penalty=0.8,
                no_repeat_ngram_size=3, max_new_tokens=8,
            )  # fmt: skip
        written = found[0, inputs["input_ids"].shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == text


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("content", [TELL, CHOOSE, TALK], ids=["generation", "choice", "talk"])
def test_merged_weights_give_the_adapted_models_likelihoods(
    content: dict[str, Any], family: str, tmp_path: Path
) -> None:
    """Plain weights with the update folded in score every token as the trained run does."""
    made = make(make_decoder(tmp_path / family, family), make_task(content))
    trained = made.train("lora", (0, 1))
    kind = kinds.get(made.task.kind)
    adapted = kind.outputs(trained.method, trained.state, EvalSubset.of(made.data.test))
    name = "logits" if made.task.kind == "choice" else "loss"
    for position in (0, 1):
        model = made.plain()
        before = made.untuned()[name][0]
        model.load_state_dict(trained.method.merge(trained.state, position))
        model.save_pretrained(tmp_path / f"merged-{position}")
        made.backbone.tokenizer.save_pretrained(tmp_path / f"merged-{position}")
        merged = make(tmp_path / f"merged-{position}", made.task).untuned()[name][0]
        np.testing.assert_allclose(merged, adapted[name][position], rtol=0, atol=1e-9)
        assert np.abs(merged - before).max() > 1e-3
