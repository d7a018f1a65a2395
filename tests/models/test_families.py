"""Some families on every kind of task and every method give what docs/families.md says.

`tests/benchmarks/families.py` measures the others in the same way.
"""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from gapbench.bench.adaptation.optim import StackedAdamW
from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.core.errors import StartError
from gapbench.bench.models.backbone import Backbone
from gapbench.methods._shared.lowrank import StackedLora
from gapbench.methods.lora import Lora
from tests.benchmarks.families import METHODS, verdict
from tests.support import tiny_families
from tests.support.family_checks import TASKS, checked, trained

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
BY_TASK = ["gemma2", "gpt_oss", "mistral", "mamba", "bart", "t5", "albert"]
BY_METHOD = ["gemma2", "falcon", "albert"]


def documented(families: list[str], columns: list[str]) -> list[tuple[str, str, str]]:
    """Return family, column and verdict of every cell of the page for some families."""
    text = PAGE.read_text(encoding="utf-8")
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    found = []
    for line in text.splitlines():
        family, *cells = (each.strip(" `") for each in line.strip("|").split("|"))
        if family in families and len(cells) == len(columns):
            for column, cell in zip(columns, cells, strict=True):
                number = re.fullmatch(r"no \((\d+)\)", cell)
                found.append((family, column, reasons[number[1]] if number else "exact"))
    return found


@pytest.mark.parametrize(("family", "kind", "told"), documented(BY_TASK, list(TASKS)))
def test_kind_of_task(family: str, kind: str, told: str, tmp_path: Path) -> None:
    """Numbers are those of the model library, or the documented reason comes."""
    assert verdict(checked(family, kind, tmp_path)) == told


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    """Return tiny classifiers by family."""
    head = SEQUENCE_CLASSIFICATION
    return {
        name: tiny_families.load(name, tmp_path_factory.mktemp(name), head) for name in BY_METHOD
    }


@pytest.mark.parametrize(("family", "method", "told"), documented(BY_METHOD, METHODS))
def test_method(family: str, method: str, told: str, backbones: dict[str, Backbone]) -> None:
    """A method trains a classifier, or the documented reason comes."""
    assert verdict(trained(backbones[family], method)) == told


def test_page_has_every_cell_that_is_tested() -> None:
    """The parameters above come from the page: none is lost by its form."""
    assert len(documented(BY_TASK, list(TASKS))) == len(BY_TASK) * len(TASKS)
    assert len(documented(BY_METHOD, METHODS)) == len(BY_METHOD) * len(METHODS)


def test_planted_faults_show(
    backbones: dict[str, Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that move nothing, or the head alone, and a start elsewhere are no right cells."""
    with monkeypatch.context() as patch:
        patch.setattr(StackedAdamW, "learning_rates", property(lambda _: torch.zeros(1, 1)))
        assert verdict(trained(backbones["gemma2"], "lora")).startswith("WRONG")
    with monkeypatch.context() as patch:
        patch.setattr(StackedLora, "forward", lambda self, x: self.base(x))
        assert verdict(trained(backbones["gemma2"], "lora")).startswith("WRONG")
    adapt = Lora.adapt

    def starts_elsewhere(self: Lora, model: nn.Module, backbone: Backbone) -> nn.Module:
        adapted = adapt(self, model, backbone)
        for layer in adapted.modules():
            if isinstance(layer, StackedLora):
                layer.lora_B.data.add_(0.1)
        return adapted

    monkeypatch.setattr(Lora, "adapt", starts_elsewhere)
    with pytest.raises(StartError, match="differ from those of the backbone"):
        trained(backbones["gemma2"], "lora")
