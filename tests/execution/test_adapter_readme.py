"""The page of an exported adapter: its code, typed by a reader, scores what the record did."""

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.config import task_files
from gapbench.bench.config.run import Run
from gapbench.bench.config.task import Task
from gapbench.bench.data.sources import Sources
from gapbench.bench.execution import adapter_readme
from gapbench.bench.store.record_io import read_record
from gapbench.bench.store.store import Store
from gapbench.bench.tasks.dataset import read_rows
from tests.support import gguf_files, tokenizers
from tests.support.causal_files import INSTRUCT, TELL
from tests.support.small_suite import CELL, blank, call, make, rows
from tests.support.span_files import FIND
from tests.support.tiny_checkpoints import DECODERS, load, save

PADDING = {"[SEP]", "[PAD]", "<|endoftext|>"}


@pytest.mark.parametrize(
    ("family", "quantization"),
    [(name, None) for name in ("gpt2", "llama", "gpt_neox", "falcon", "bart", "modernbert")]
    + [("llama", "nf4"), ("modernbert", "nf4"), ("gguf", None)],
)
def test_readme_loads_the_adapter_for_batches(
    family: str,
    quantization: str | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its code, run in the folder, scores a batch as the record did, padding included.

    The checkpoints have no padding token, or a head for three classes.
    """
    if quantization is not None:
        pytest.importorskip("bitsandbytes", reason="NF4 needs the extra 'quantized'")
    class_name = "AutoModelForSequenceClassification"
    folder = tmp_path / family
    # The library's own layers compute wrongly on CPUs where a block crosses the end of a row.
    wide = {"hidden_size": 64, "intermediate_size": 128} if quantization else {}
    if family == "gguf":
        pytest.importorskip("gguf", reason="needs the extra 'gguf'")
        model = gguf_files.save(tmp_path / "whole")
        folder = gguf_files.write(tmp_path / "tiny.gguf", model, kind="Q8_0")
    elif family in DECODERS:
        save(folder, family, "AutoModelForCausalLM", pad_token_id=None, **wide)
    else:
        save(folder, family, class_name, num_labels=3, **wide)
    method = {"method": "lora", "config": {"rank": 2, "targets": "all-linear"}}
    few_bits = {"quantization": quantization} if quantization else {}
    small = make(tmp_path / "small", folder, methods=[method], seeds=1, **few_bits)
    small.write_task(max_length=48)
    assert call(capsys, "run", *small.running).code == 0
    (path,) = (small.results / "runs").rglob("seed-0.json")
    out = tmp_path / "adapter"
    arguments = ("--results", small.results, "--data", small.data, "--backbone", folder)
    assert call(capsys, "export", path, *arguments, "--out", out).code == 0
    monkeypatch.chdir(out)
    page = (out / "README.md").read_text()
    load, use = (part.partition("```")[0] for part in page.split("```python")[1:])
    names: dict[str, Any] = {"sentences": rows("validation")["sentence"]}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exec(load + use, names)  # noqa: S102 - what a reader would type
    stored = Store(small.results).predictions(read_record(path).run).sort_by("example_id")
    expected = np.stack([stored[f"logit_{k}"].to_numpy() for k in (0, 1)], axis=1)
    # Without gradients, bitsandbytes may multiply in bfloat16.
    off = 2e-5 if quantization is None else 2e-2
    np.testing.assert_allclose(names["outputs"].logits.numpy(), expected, atol=off)
    assert names["model"].config.id2label == {0: "no", 1: "yes"}
    assert json.loads((out / "gapbench.json").read_text())["padding_token"] in PADDING
    assert str(tmp_path) not in (out / "tokenizer_config.json").read_text()


@pytest.mark.parametrize(
    "names",
    [["2nd text", "größe (cm)"], ["a", "i"], ["clas", "pas"], ["a'b", "class"], ["x.y", "`z`"]],
)
def test_columns_of_any_name_make_code_that_python_reads(names: list[str], tmp_path: Path) -> None:
    """What stands for the texts of a column is a variable, and two columns are two."""
    cell = CELL.model_copy(update={"task": CELL.task.model_copy(update={"text": tuple(names)})})
    backbone = load(save(tmp_path / "bert", "bert", "AutoModel"), cell.task.head)
    base = {"base_model_name_or_path": "owner/bert", "revision": None}
    page = adapter_readme.page(blank(Run(cell, 0)), backbone, base)
    use = page.split("```python")[2].partition("```")[0]
    (call,) = [each for each in ast.walk(ast.parse(use)) if isinstance(each, ast.Call)][:1]
    given = [each.id for each in call.args if isinstance(each, ast.Name)]
    assert len({*given}) == len(names)


@pytest.mark.parametrize("kind", ["generation", "span"])
def test_readme_of_other_kinds_of_task(kind: str, tmp_path: Path) -> None:
    """Language models have no number of labels; span models of decoders need other names."""
    content = FIND if kind == "span" else TELL
    cell = CELL.model_copy(update={"task": Task.model_validate(content)})
    folder = save(tmp_path / "llama", "llama", "AutoModelForCausalLM")
    backbone = load(folder, cell.task.head)
    base = {"base_model_name_or_path": "owner/llama", "revision": "0" * 40}
    page = adapter_readme.page(blank(Run(cell, 0)), backbone, base)
    assert f"'owner/llama', revision='{'0' * 40}'" in page
    assert ("num_labels=2, key_mapping={" in page) == (kind == "span")
    writes = "num_beams=2, length_penalty=0.8, no_repeat_ngram_size=3, max_new_tokens=8"
    assert (writes in page) == (kind == "generation")
    expected = (
        "tokenizer(questions, contexts, padding" if kind == "span" else "tokenizer(prompts, p"
    )
    assert expected in page


@pytest.mark.parametrize("decoding", [None, {"max_new_tokens": 8}])
def test_chat_template_begins_a_text_once(decoding: Any, tmp_path: Path) -> None:
    """Its text holds the first token already, which tokenizers such as Llama's would add again."""
    task = Task.model_validate(INSTRUCT | {"instruction": {"decoding": decoding}})
    cell = CELL.model_copy(update={"task": task})
    backbone = load(save(tmp_path / "llama", "llama", "AutoModelForCausalLM"), task.head)
    base = {"base_model_name_or_path": "owner/llama", "revision": None}
    for kind, once in (("unigram-brackets", True), ("unigram", False)):
        backbone.tokenizer = tokenizers.make(kind)
        page = adapter_readme.page(blank(Run(cell, 0)), backbone, base)
        assert ("tokenizer(prompts, add_special_tokens=False, padding" in page) == once


def test_readme_writes_texts_as_the_run_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its beams, and without the end that this tokenizer puts behind a prompt."""
    task = task_files.load("syn_data2text").model_dump(mode="json", exclude_unset=True)
    task["source"]["sizes"]["test"] = 24  # texts are written for all of them
    small = make(tmp_path / "small", "tiny-decoder", tasks=[task], methods=["lora"])
    flags = ("--seeds", 1)
    assert call(capsys, "run", *small.running, *flags).code == 0
    (path,) = (small.results / "runs").rglob("seed-0.json")
    out = tmp_path / "adapter"
    assert call(capsys, "export", path, "--results", small.results, "--out", out).code == 0
    monkeypatch.chdir(out)
    load, use = (
        part.partition("```")[0] for part in (out / "README.md").read_text().split("```python")[1:]
    )
    record = read_record(path)
    stored = Store(small.results).predictions(record.run).sort_by("example_id")
    records = read_rows(record.cell.task, Sources())["test"].columns["prompt"]
    names: dict[str, Any] = {"prompts": [str(each) for each in records[:20]]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(load + use, names)  # noqa: S102 - what a reader would type
    pairs = zip(names["texts"], stored["text"].to_pylist(), strict=False)
    assert sum(ours.strip() == theirs.strip() for ours, theirs in pairs) >= 18
