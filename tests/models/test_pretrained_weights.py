"""Every family draws its head anew; a checkpoint that lacks, or has, other weights is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gapbench.bench.config.head import LANGUAGE_MODEL, SEQUENCE_CLASSIFICATION, SPAN, HeadType
from gapbench.bench.core.errors import BackboneError
from gapbench.bench.models.per_run_modules import stack_head
from gapbench.bench.models.run_axis import RunAxis, StackedHead
from tests.support.tiny_checkpoints import load, save

CPU = torch.device("cpu")
CLASSIFIERS = {
    "bert": ("classifier",),
    "roberta": ("classifier",),
    "albert": ("classifier",),
    "distilbert": ("classifier", "pre_classifier"),
    "deberta-v2": ("classifier", "pooler"),
    "modernbert": ("classifier", "head"),
    **dict.fromkeys(("bart", "mbart", "mvp", "plbart"), ("classification_head",)),
    **dict.fromkeys(("bigbird_pegasus", "t5", "mt5", "umt5"), ("classification_head",)),
    **dict.fromkeys(("xlm", "flaubert"), ("sequence_summary",)),
    "xlnet": ("logits_proj", "sequence_summary"),
    "gpt2": ("score",),
    "llama": ("score",),
}
SPANS = {
    "bert": ("qa_outputs",),
    "modernbert": ("classifier", "head"),
    "bart": ("qa_outputs",),
    "t5": ("qa_outputs",),
    "big_bird": ("qa_classifier",),
    "splinter": ("splinter_qass",),
    "llama": ("qa_outputs",),
}
CASES = [
    *((family, SEQUENCE_CLASSIFICATION, head) for family, head in CLASSIFIERS.items()),
    *((family, SPAN, head) for family, head in SPANS.items()),
]


@pytest.mark.parametrize(("family", "head", "parts"), CASES)
def test_trained_head_is_replaced_by_one_for_each_run(
    family: str, head: HeadType, parts: tuple[str, ...], tmp_path: Path
) -> None:
    """A checkpoint of the same size keeps no layer of its head, and all of the rest."""
    backbone = load(save(tmp_path / family, family, head.auto_class), head)
    assert backbone.head == parts
    model = backbone.model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    stack_head(model, backbone, RunAxis([1, 2], CPU, torch.float32))
    fresh = {n: m for n, m in model.named_modules() if isinstance(m, StackedHead)}
    owned = [name for name in before if backbone.in_head(name)]
    assert sorted(owned) == sorted(f"{n}.{p}" for n, m in fresh.items() for p in m.state_dict())
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == backbone.in_head(name), name
        if not backbone.in_head(name):
            assert torch.equal(parameter, before[name]), name
        elif parameter.dim() > 2:
            one, other = parameter
            assert not torch.equal(one, other), name
            assert not torch.equal(one, before[name]), name


def test_head_with_other_layers_is_refused(tmp_path: Path) -> None:
    """Perceiver's decoder holds places that it attends from; they cannot be drawn like weights."""
    name = SEQUENCE_CLASSIFICATION.auto_class
    backbone = load(save(tmp_path / "perceiver", "perceiver", name))
    assert backbone.head == ("perceiver.decoder",)
    with pytest.raises(BackboneError, match=r"its head has perceiver\.decoder.*only linear layers"):
        stack_head(backbone.model(), backbone, RunAxis([1], CPU, torch.float32))


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2", "bart"])
def test_checkpoint_of_a_bare_model_or_of_other_classes_loads(family: str, tmp_path: Path) -> None:
    """Both give the same backbone: only the head differs, and that is drawn anew."""
    name = SEQUENCE_CLASSIFICATION.auto_class
    folders = [
        save(tmp_path / "bare", family),
        save(tmp_path / "three", family, name, num_labels=3),
        save(tmp_path / "two", family, name),
    ]
    assert {load(folder).head for folder in folders} == {CLASSIFIERS[family]}


def change(folder: Path, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """Write a folder's weights again, edited."""
    path = folder / "model.safetensors"
    save_file(edit(load_file(path)), path, metadata={"format": "pt"})
    return folder


def without(*endings: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Return an edit that leaves out weights by the ends of their names."""
    return lambda weights: {n: w for n, w in weights.items() if not n.endswith(endings)}


def renamed(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Return an edit that puts a prefix before all names."""
    return lambda weights: {f"{prefix}{name}": weight for name, weight in weights.items()}


def added(name: str, *shape: int) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Return an edit that adds a weight, or replaces it."""
    return lambda weights: weights | {name: torch.ones(shape)}


REFUSED: dict[str, tuple[str, dict[str, Any], Callable[..., Any], HeadType, str]] = {
    "a projection": (
        "bert", {}, without("layer.1.attention.self.query.weight"), SEQUENCE_CLASSIFICATION,
        "lacks bert.encoder.layer.1.attention.self.query.weight; only the head",
    ),
    "a norm": (
        "bart", {}, without("layernorm_embedding.weight"), SEQUENCE_CLASSIFICATION,
        "lacks model.decoder.layernorm_embedding.weight, model.encoder.layernorm_embedding",
    ),
    "an embedding": (
        "gpt2", {}, without("wte.weight"), SEQUENCE_CLASSIFICATION, "lacks transformer.wte.weight",
    ),
    "a layer of a decoder": (
        "llama", {"auto_class": "AutoModelForCausalLM"}, without("1.self_attn.q_proj.weight"),
        LANGUAGE_MODEL, "lacks model.layers.1.self_attn.q_proj.weight",
    ),
    "half a pooler": (
        "bert", {}, without("pooler.dense.bias"), SEQUENCE_CLASSIFICATION,
        "lacks bert.pooler.dense.bias",
    ),
    "an untied output": (
        "llama", {"auto_class": "AutoModelForCausalLM", "tie_word_embeddings": False},
        without("lm_head.weight"), LANGUAGE_MODEL,
        "lacks lm_head.weight.*or set 'tie_word_embeddings' in its config.json",
    ),
    "names of data parallelism": (
        "bert", {}, renamed("module."), SEQUENCE_CLASSIFICATION, "begin with 'module.'",
    ),
    "names of a compiled model": (
        "llama", {"auto_class": "AutoModelForCausalLM"}, renamed("_orig_mod."), LANGUAGE_MODEL,
        "begin with '_orig_mod.'",
    ),
    "names of a classifier in a wrapper": (
        "bert", {"auto_class": "AutoModelForSequenceClassification"}, renamed("network.inner."),
        SEQUENCE_CLASSIFICATION, "begin with 'network.inner.'",
    ),
    "one layer more": (
        "bert", {}, added("encoder.layer.2.output.dense.weight", 32, 48), SEQUENCE_CLASSIFICATION,
        r"no place for (bert\.)?encoder.layer.2.output.dense.weight",
    ),
    "a bias that the model leaves out": (
        "llama", {}, added("layers.0.self_attn.q_proj.bias", 32), SEQUENCE_CLASSIFICATION,
        r"no place for (model\.)?layers.0.self_attn.q_proj.bias",
    ),
    "another width": (
        "bert", {}, added("encoder.layer.1.intermediate.dense.weight", 40, 32),
        SEQUENCE_CLASSIFICATION,
        r"intermediate.dense.weight has the shape \(40, 32\).*that is \(48, 32\)",
    ),
    "fewer words": (
        "gpt2", {}, added("wte.weight", 30, 32), SEQUENCE_CLASSIFICATION,
        r"transformer.wte.weight has the shape \(30, 32\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_checkpoint_that_does_not_fit_is_refused_by_name(case: str, tmp_path: Path) -> None:
    """Nothing outside the head is ever drawn at random, or left out, without a word."""
    family, settings, edit, head, message = REFUSED[case]
    folder = change(save(tmp_path / family, family, **settings), edit)
    with pytest.raises(BackboneError, match=message):
        load(folder, head)


@pytest.mark.parametrize(
    ("family", "saved", "head"),
    [
        ("electra", "AutoModelForPreTraining", SEQUENCE_CLASSIFICATION),
        ("t5", "AutoModelForSeq2SeqLM", SEQUENCE_CLASSIFICATION),
        ("t5", "AutoModelForQuestionAnswering", SEQUENCE_CLASSIFICATION),
        ("bart", "AutoModelForSeq2SeqLM", SPAN),
        ("xlnet", "AutoModelForCausalLM", SEQUENCE_CLASSIFICATION),
        ("falcon", "AutoModelForCausalLM", SPAN),
        ("llama", "AutoModelForQuestionAnswering", SEQUENCE_CLASSIFICATION),
        ("llama", "AutoModelForSequenceClassification", SPAN),
    ],
)
def test_checkpoint_with_a_head_of_another_kind_loads(
    family: str, saved: str, head: HeadType, tmp_path: Path
) -> None:
    """Its head is left out, whatever the library calls the model inside."""
    assert load(save(tmp_path / family, family, saved), head).head


@pytest.mark.parametrize(
    ("family", "edit"),
    [
        ("bert", added("cls.predictions.bias", 9)),
        ("bert", added("embeddings.position_ids", 1, 64)),
        ("gpt2", added("h.0.attn.masked_bias", 1)),
        ("gptj", added("h.0.attn.bias", 1, 1, 8, 8)),
    ],
)
def test_heads_of_other_tasks_and_old_buffers_do_no_harm(
    family: str, edit: Callable[..., Any], tmp_path: Path
) -> None:
    """Published checkpoints have them."""
    assert load(change(save(tmp_path / family, family), edit)).head


@pytest.mark.parametrize(
    ("family", "pooler"), [("bert", "bert.pooler"), ("albert", "albert.pooler")]
)
def test_absent_pooler_is_drawn_with_the_head(family: str, pooler: str, tmp_path: Path) -> None:
    """Masked language models have none; it is fresh, so it trains."""
    folder = change(
        save(tmp_path / family, family), lambda w: {n: v for n, v in w.items() if "pooler" not in n}
    )
    assert load(folder).head == tuple(sorted(("classifier", pooler)))
