"""Weights that bfloat16 holds exactly are in memory once, in two bytes, and no number changes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ReferenceType, ref

import pytest
import torch
import transformers
from torch import Tensor, nn

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up, unsupported_reason
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.config.run import Quantization, Run
from gapbench.bench.data.encoded import TaskData
from gapbench.bench.models import bf16, loading
from gapbench.bench.profiling import padding_check, self_check
from tests.support import causal_files
from tests.support.less_memory import changed
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    Trained,
    load_backbone,
    make_runs,
    random_data,
    train,
)

METHODS = ["lora", "dora", "hiddenkey", "bitfit", "bilora", "full", "peft:LORA"]
SETTINGS: dict[str, dict[str, Any]] = {
    "peft:LORA": {"settings": {"target_modules": "all-linear", "init_lora_weights": "pissa"}}
}


@pytest.fixture
def checkpoint(request: pytest.FixtureRequest, make_backbone: MakeBackbone, tmp_path: Path) -> Path:
    """Return a folder with weights in bfloat16; those of decoders are language models."""
    tied, _, family = request.param.rpartition(" ")
    if family == "bert":
        drawn, auto = make_backbone(family), transformers.AutoModel
    else:
        drawn = causal_files.make_decoder(tmp_path / "drawn", family)
        auto = transformers.AutoModelForCausalLM
    folder = tmp_path / "rounded"
    ties = {"tie_word_embeddings": True} if tied else {}
    auto.from_pretrained(drawn, dtype=torch.bfloat16, **ties).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(drawn).save_pretrained(folder)
    return folder


@pytest.fixture
def keep_all(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return a function after which all full weights stay, as those of float32 checkpoints do."""

    def keep() -> None:
        loading.load.cache_clear()
        monkeypatch.setattr(bf16, "_is_exact", lambda _: False)

    yield keep
    loading.load.cache_clear()


def given(
    folder: Path, method: str, quantization: Quantization | None = None
) -> tuple[list[Run], TaskData]:
    """Return runs of a method in bfloat16, of a task that the checkpoint does, and their data."""
    seeds = (0, 1) if registry.get(method).stackable else (0,)
    settings = SETTINGS.get(method, {})
    if transformers.AutoConfig.from_pretrained(folder).model_type == "bert":
        runs, data = make_runs(method, seeds, configs=[settings], steps=6), random_data()
    else:
        made = causal_files.make(folder, causal_files.make_task(causal_files.TELL))
        runs, data = causal_files.make_runs(made.task, method, seeds, **settings), made.data
    return changed(runs, precision="bf16", quantization=quantization), data


def is_alone(weight: nn.Parameter) -> bool:
    """Whether there is no full weight beside a rounded one."""
    return bf16.full(weight) is not bf16.full(weight)


@pytest.mark.parametrize("checkpoint", ["bert", "gpt2", "llama", "tied llama"], indirect=True)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("quantization", [None, "int8"])
def test_no_number_changes(
    checkpoint: Path,
    keep_all: Callable[[], None],
    method: str,
    quantization: Quantization | None,
) -> None:
    """Curves, weights and merged weights are those beside full weights, to the last bit."""
    runs, data = given(checkpoint, method, quantization)
    if reason := unsupported_reason(runs[0].cell, load_backbone(checkpoint, runs)):
        assert method == "bitfit" or (quantization and method in {"full", "peft:LORA"}), reason
        pytest.skip(reason)

    def trained() -> tuple[Trained, dict[str, Tensor]]:
        set_up(runs, load_backbone(checkpoint, runs), data, CPU, check=True)
        made = train(checkpoint, runs, data)
        return made, made.method.merge(made.state, 0)

    (once, merged), _ = trained(), keep_all()
    twice, expected = trained()
    curves = [[trace.curve for trace in made.trainer.traces] for made in (once, twice)]
    assert curves[0] == curves[1]
    ours, theirs = (dict(made.state.model.named_parameters()) for made in (once, twice))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {w.dtype for w in ours.values() if w.requires_grad} == {torch.float32}
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], expected[name]) for name in merged)


@pytest.mark.parametrize("checkpoint", ["bert", "llama"], indirect=True)
def test_weights_are_in_memory_once(checkpoint: Path) -> None:
    """Two bytes each outside the head, and no stack adds any."""
    runs, data = given(checkpoint, "lora")
    backbone = load_backbone(checkpoint, runs)
    model: Any = backbone.model()
    logits = model.get_output_embeddings()
    in_full = set() if logits is None else {id(weight) for weight in logits.parameters()}
    stored = {n: w for n, w in model.named_parameters() if not backbone.in_head(n)}
    sizes = {n: 4 if id(w) in in_full else 2 for n, w in stored.items()}
    assert {name: weight.element_size() for name, weight in stored.items()} == sizes
    _, state = set_up(runs, backbone, data, CPU)
    own = {weight.data_ptr() for weight in stored.values()}
    frozen = [weight for weight in state.model.parameters() if not weight.requires_grad]
    assert len(frozen) == len(stored)
    assert {weight.data_ptr() for weight in frozen} == own
    assert all(is_alone(w) for w in frozen if w.dtype == torch.bfloat16)


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_a_copy_of_peft_is_rounded_too(checkpoint: Path) -> None:
    """Its first values are taken from full weights, of which none stays."""
    runs, data = given(checkpoint, "peft:LORA")
    _, state = set_up(runs, load_backbone(checkpoint, runs), data, CPU)
    frozen = [weight for weight in state.model.parameters() if not weight.requires_grad]
    matrices = [weight for weight in frozen if weight.dim() == 2]
    assert {weight.dtype for weight in frozen} == {torch.bfloat16}
    residual = [weight for weight in matrices if not is_alone(weight)]  # PiSSA changes these
    assert 0 < len(residual) < len(matrices)


@pytest.mark.parametrize("checkpoint", ["bert", "llama"], indirect=True)
def test_few_weights_are_made_full_at_a_time(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first step, when two models are compared."""
    runs, data = given(checkpoint, "lora")
    backbone = load_backbone(checkpoint, runs)
    made: list[ReferenceType[nn.Parameter]] = []
    most, full = 0, bf16.full

    def look(weight: nn.Parameter) -> nn.Parameter:
        nonlocal most
        found = full(weight)
        if found is not weight:
            made.append(ref(found))
        most = max(most, sum(known.numel() for each in made if (known := each()) is not None))
        return found

    monkeypatch.setattr(bf16, "full", look)
    set_up(runs, backbone, data, CPU, check=True)
    stored = list(backbone.model().parameters())
    largest = max(weight.numel() for weight in stored)
    assert largest <= most <= 2 * largest < sum(weight.numel() for weight in stored) / 2


@pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)
def test_other_weights_stay_beside_the_rounded_ones(
    checkpoint: Path, make_backbone: MakeBackbone
) -> None:
    """Of a float32 checkpoint, all that bfloat16 does not hold exactly."""
    runs, data = given(checkpoint, "lora")
    _, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    matrices = [w for w in state.model.parameters() if w.dim() == 2 and not w.requires_grad]
    assert {weight.dtype for weight in matrices} == {torch.bfloat16}
    assert not any(is_alone(weight) for weight in matrices)


@pytest.mark.parametrize("checkpoint", ["bert", "llama", "tied llama"], indirect=True)
def test_checks_compute_in_full(checkpoint: Path, keep_all: Callable[[], None]) -> None:
    """The self-check, and the padding check of a classifier, find what they find of float32."""
    runs, _ = given(checkpoint, "lora")
    decoder = not load_backbone(checkpoint, runs).head
    loading.load.cache_clear()

    def found() -> object:
        torch.manual_seed(0)  # draws the head
        backbone = load_backbone(checkpoint, runs)
        if decoder:
            return self_check._measure(backbone, 0, 0, causal_files.WINDOW, CPU)
        return padding_check._moved(backbone, SEQUENCE_CLASSIFICATION, 0, CPU)

    once, _ = found(), keep_all()
    assert once == found()
