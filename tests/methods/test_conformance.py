"""What every method must do, whatever it is: one suite over all that are discovered."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gapbench.bench.adaptation import registry
from gapbench.bench.adaptation.build import set_up
from gapbench.bench.data.batching import collate
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import StackedLinear
from gapbench.bench.tasks import kinds
from gapbench.bench.training.trainer import Trainer
from tests.support.conformance import (
    NAMES,
    STACKABLE,
    STACKED_ON,
    TRAINED,
    assert_healthy,
    quick_runs,
    skip_unsupported,
)
from tests.support.counting import counting_once
from tests.support.small_stack import (
    CPU,
    MakeBackbone,
    Trained,
    load_backbone,
    random_data,
    train,
)

FAMILIES = ["bert", "roberta", "gpt2", "llama", "deberta-v2"]


def test_all_methods_are_discovered() -> None:
    """Discovery finds one class a public file of the package."""
    files = {p.stem for p in Path("methods").glob("[a-z]*.py")}
    assert files
    assert files <= set(registry.discover())


@pytest.mark.parametrize("name", NAMES)
def test_method_states_its_source_and_documents_its_settings(name: str) -> None:
    """Each class has a docstring and a reference, each setting a description."""
    cls = registry.get(name)
    assert cls.__doc__
    assert cls.reference
    assert all(field.description for field in cls.Config.model_fields.values())
    assert set(cls.search_space()) <= set(cls.Config.model_fields)
    assert set(cls.Config.model_fields) >= cls.Config.PER_RUN


@pytest.mark.parametrize("name", [n for n in NAMES if n != "majority"])
@pytest.mark.parametrize("family", FAMILIES)
def test_method_before_the_first_step_equals_the_backbone(
    name: str, family: str, make_backbone: MakeBackbone
) -> None:
    """Adapted outputs equal those of the frozen model with the same head, bit for bit or nearly."""
    folder, data = make_backbone(family), random_data()
    runs = quick_runs(name, (5,))
    backbone = load_backbone(folder, runs)
    skip_unsupported(name, backbone)
    method, state = set_up(runs, backbone, data, CPU)
    batch = collate(data.test, np.arange(6)[None], CPU)
    plain = backbone.model().eval()
    for path, module in state.model.named_modules():
        if isinstance(module, StackedLinear):
            target = plain.get_submodule(path.removeprefix("base_model.model."))
            head = module.weight[0] if module.weight.dim() == 3 else module.weight[0, 0]
            target.weight.data = head.detach()
            if module.bias is not None:
                target.bias.data.zero_()
    expected = plain(**batch.inputs).logits
    state.model.eval()
    if method.members > 1:  # its other members have heads of their own
        batch = batch.replicated(1, method.members)
    actual = state.model(**batch.inputs).logits[: len(expected)]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "family"),
    [(n, f) for f in FAMILIES for n in TRAINED if n not in STACKABLE or f not in STACKED_ON],
)
def test_method_trains_on_every_family(name: str, family: str, make_backbone: MakeBackbone) -> None:
    """Two-layer heads, Conv1D layers, grouped queries and last-token pooling all work.

    `test_stacked_methods` trains on the other families.
    """
    runs = quick_runs(name, (0,), steps=4, outputs=3)
    skip_unsupported(name, load_backbone(make_backbone(family), runs))
    with counting_once():
        trained = train(make_backbone(family), runs, random_data(outputs=3), scored=False)
    assert_healthy(trained)


@dataclass(frozen=True)
class Training:
    """One run of a method after 12 steps, and the weights of its backbone before the first."""

    backbone: Backbone
    before: dict[str, torch.Tensor]
    trained: Trained


@pytest.fixture(scope="module", params=TRAINED)
def training(request: pytest.FixtureRequest, make_backbone: MakeBackbone) -> Training:
    """Train one run of each method, once for all that is asked of it."""
    folder, runs = make_backbone("bert"), quick_runs(request.param, (0,), steps=12)
    backbone = load_backbone(folder, runs)
    before = {k: v.clone() for k, v in backbone.model().state_dict().items()}
    with counting_once():
        trained = train(folder, runs, random_data())
    return Training(backbone, before, trained)


def test_method_leaves_the_pretrained_weights_bit_identical(training: Training) -> None:
    """Training changes no frozen weight of the copy, and none at all of the original."""
    state, before = training.trained.state, training.before
    frozen = [p for p in state.model.parameters() if not p.requires_grad]
    untouched = {v.numpy().tobytes() for v in before.values()}
    assert (len(frozen) > 20) == (training.trained.method.name != "full")
    assert all(p.numpy().tobytes() in untouched for p in frozen)
    assert all(p.grad is None for p in frozen)
    after = training.backbone.model().state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_relative_cost_is_what_the_steps_report(training: Training) -> None:
    """The cost that `list methods` shows is the number of passes that a training counts."""
    method, (trace,) = training.trained.method, training.trained.trainer.traces
    assert trace.steps == 12
    claimed = method.relative_cost(method.configs[0])
    passes = trace.forward_passes + trace.backward_passes
    assert claimed == pytest.approx(passes / 2 / trace.steps, rel=0.02)


@pytest.mark.parametrize("name", TRAINED)
def test_chosen_checkpoint_predicts_what_it_predicted_when_chosen(
    name: str, make_backbone: MakeBackbone
) -> None:
    """Predictions follow from parameters and settings; the step at which they are made is none."""
    runs = quick_runs(name, (1,), trainings=[{"warmup_fraction": 0.0}], steps=8, evaluations=4)
    data = random_data()
    method, state = set_up(runs, load_backbone(make_backbone("bert"), runs), data, CPU)
    trainer = Trainer(runs, method, state, data, lambda _: None)
    kept: list[tuple[torch.Tensor, np.ndarray]] = []
    kind, validation = kinds.get(state.task.kind), trainer.subsets["validation"]
    choose = trainer._choose

    def choosing(position: int, trace: Any, scores: Any, outputs: Any) -> None:
        row = state.bank.values[position].clone()
        kept.append((row, outputs["validation"]["logits"]))
        choose(position, trace, scores, outputs)

    trainer._choose = choosing  # type: ignore[method-assign]
    trainer.train()
    state.model.eval()
    assert len(kept) > 2
    for row, logits in kept:
        state.bank.load(row[None])
        with trainer._few_members():
            again = kind.outputs(method, state, validation)["logits"][0]
        np.testing.assert_allclose(again, logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_gives_same_numbers_and_another_seed_does_not(
    name: str, make_backbone: MakeBackbone
) -> None:
    """Training twice from one seed is bit-identical; a second seed gives other numbers."""
    folder, data = make_backbone("bert"), random_data()
    first, again, other = (
        train(folder, quick_runs(name, (seed,), steps=6), data, scored=False).logits(data)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_method_has_a_page(name: str) -> None:
    """Each method is documented, under the same headings."""
    page = Path("docs/methods") / f"{name.partition(':')[0]}.md"
    assert page.is_file(), f"write {page}, with the headings of docs/methods/lora.md"
    text = page.read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[0] == f"# {page.stem}"
    wanted = ["Equations", "Settings", "Deviations", "Cost", "Published figures", "Measured here"]
    assert [f"## {heading}" for heading in wanted] == [h for h in headings if h.startswith("## ")]
    cls = registry.get(name)
    assert all(f"`{field}`" in text for field in cls.Config.model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_page_gives_the_defaults_of_the_settings(name: str) -> None:
    """A row of the table of settings has one field, or several with as many defaults or one."""
    page = Path("docs/methods") / f"{name.partition(':')[0]}.md"
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]+) \|", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    fields = registry.get(name).Config.model_fields
    for names, shown in rows:
        told = re.findall(r"\w+", names)
        values = shown.split(", ") if len(told) > 1 and ", " in shown else [shown] * len(told)
        for field, value in zip(told, values, strict=True):
            default = fields[field].default
            if isinstance(default, bool | str):
                assert value == str(default).lower(), field
            elif isinstance(default, int | float):
                assert float(value) == default, field
    assert bool(rows) == bool(fields)
