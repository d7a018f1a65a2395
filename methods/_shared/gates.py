"""Low-rank updates that can be switched on and off block by block, shared by the Flexora methods.

A block is one transformer layer, found by the first number in the names of its modules; a layer
without a number (a pooler) is a block of its own. `flexora` and `flexora_random` choose the
blocks.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar, Unpack

import torch
from torch import Tensor, nn

from gapbench.bench.adaptation.train_state import TrainState
from gapbench.bench.models.backbone import Backbone
from gapbench.bench.models.run_axis import RunAxis, Stacked
from gapbench.bench.store.diagnostic import Diagnostic
from gapbench.methods._shared.lowrank import LayerSettings, LowRank, LowRankConfig, StackedLora

Block = int | str


class Gates(Stacked):
    """Multipliers of the update of every block, for each run; it holds no parameters.

    Attributes:
        chosen: (all runs, blocks) bool, the blocks that train; all of them at first.
    """

    def __init__(self, axis: RunAxis, blocks: int) -> None:
        super().__init__(axis)
        self.chosen = torch.ones(len(axis.seeds), blocks, dtype=torch.bool, device=axis.device)

    def multipliers(self) -> Tensor:
        """Return the multipliers of the active runs, (runs, blocks)."""
        return self.axis.select(self.chosen).to(self.axis.dtype)


class StackedGated(StackedLora):
    """A frozen layer plus ``gate * B A x`` per run; the layers of a block share the gate.

    With gate 0 neither A nor B has a gradient, so that B stays exactly zero.
    """

    def __init__(
        self,
        axis: RunAxis,
        base: nn.Module,
        site: str,
        gates: Gates,
        block: int,
        **settings: Unpack[LayerSettings],
    ) -> None:
        super().__init__(axis, base, site, **settings)
        self.gates = gates
        self.block = block

    def strength(self) -> Tensor:
        """Return scaling times the block's multiplier, (runs, 1, 1)."""
        gate = self.gates.multipliers()[:, self.block]
        return super().strength() * gate.view(-1, 1, 1)

    def parameter_count(self, index: int) -> int:
        """Count the run's own rank where its block trains, nothing elsewhere."""
        return super().parameter_count(index) if self.gates.chosen[index, self.block] else 0


ConfigT = TypeVar("ConfigT", bound=LowRankConfig)


class BlockLowRank(LowRank[ConfigT]):
    """LoRA with a gate for every block.

    Attributes:
        gates: the multipliers of all blocks.
        block_of: for each target layer, the index of its block in `labels`.
        labels: the blocks' numbers (names where there are none), in the model's order.
    """

    no_initial_adapter: ClassVar[str | None] = (
        "it switches updates off by block, including the adapter's"
    )
    diagnostics: ClassVar[tuple[Diagnostic, ...]] = (
        Diagnostic(
            kind="selection",
            field="selected_blocks",
            figure="blocks",
            title="Blocks that each run trains",
            noun="block",
            caption="Larger marks: the search moved alpha_hat further from 0.",
            entries="blocks",
            sizes="alpha_hat",
        ),
    )
    gates: Gates
    block_of: dict[str, int]
    labels: list[Block]

    def adapt(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Add a gated update to every target layer."""
        names = backbone.target_layers(self.configs[0].targets)
        self.block_of, self.labels = self.group(names)
        self.gates = self.make_gates(len(self.labels))
        return super().adapt(model, backbone)

    def group(self, names: Sequence[str]) -> tuple[dict[str, int], list[Block]]:
        """Return each layer's group and the groups' labels: blocks and their numbers here."""
        order = list(dict.fromkeys(map(block_path, names)))
        ends = [path.rpartition(".")[2] for path in order]
        plain = len(set(ends)) == len(ends)
        labels: list[Block] = [
            int(end) if plain and end.isdigit() else path
            for end, path in zip(ends, order, strict=True)
        ]
        return {name: order.index(block_path(name)) for name in names}, labels

    def make_gates(self, blocks: int) -> Gates:
        """Return the gates of a new model."""
        return Gates(self.axis, blocks)

    def layer(self, base: nn.Module, site: str) -> StackedGated:
        """Return the layer that replaces ``base``."""
        block = self.block_of[site.removeprefix("lora.")]
        return StackedGated(self.axis, base, site, self.gates, block, **self.layer_settings())

    def diagnostic_values(self, state: TrainState, position: int) -> dict[str, Any]:
        """Return the labels of all blocks and of the blocks that the run trains."""
        found = {"blocks": [*self.labels], "selected_blocks": self.selected(position)}
        return super().diagnostic_values(state, position) | found

    def selected(self, position: int) -> list[Block]:
        """Return the labels of the blocks that train in an active run."""
        chosen = self.axis.select(self.gates.chosen)[position].tolist()
        return [label for label, own in zip(self.labels, chosen, strict=True) if own]


def block_path(name: str) -> str:
    """Return a layer's name up to its block's number, all of it if it has none.

    ``bert.encoder.layer.0.attention.self.query`` is in block ``bert.encoder.layer.0``.
    """
    parts = name.split(".")
    end = next((place for place, part in enumerate(parts) if part.isdigit()), len(parts))
    return ".".join(parts[: end + 1])
