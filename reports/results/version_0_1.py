"""What methods of version 0.1 have drawn: their records do not say so themselves.

Later records carry what their method declares, so nothing is ever added here.
"""

from collections.abc import Mapping
from typing import Any

from gapbench.bench.store.diagnostic import Diagnostic, Drop

DIAGNOSTICS = (
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
    Diagnostic(
        kind="kept",
        field="kept_ranks",
        figure="kept-ranks",
        title="Rank that each layer keeps after training",
        noun="rank",
    ),
    Diagnostic(
        kind="profiles",
        field="pseudo_singular_values",
        figure="values",
        title="Pseudo singular values of every layer, largest first",
        noun="value",
        caption="Dotted: equal values with sum 1, where a softmax starts. Steeper lines use "
        "fewer directions.",
    ),
)

# Position, label, setting of the rate, and pattern, or the setting that holds it.
_POSITIONS = (
    ("logit", "attention before softmax", "logit_rate", "logit_pattern"),
    ("weight", "attention after softmax", "weight_rate", "weight_pattern"),
    ("embedding", "word embeddings", "embedding_rate", "embedding_pattern"),
    ("head", "input of the head", "head_rate", "element"),
    ("ffn", "feed-forward output", "ffn_rate", "ffn_pattern"),
    ("update", "input of the update", "dropout", "element"),
    ("rows", "rows and columns of the update", "rate", "row, column"),
)


def drops(config: Mapping[str, Any]) -> tuple[Drop, ...]:
    """Return what a method with these settings drops in training."""
    drop_rates: dict[str, Any] = {rate: config.get(rate) for _, _, rate, _ in _POSITIONS}
    if "ffn_rate" in config and drop_rates["ffn_rate"] is None:
        drop_rates["ffn_rate"] = config.get("logit_rate")  # it is tied

    def found(pattern: str) -> str:
        return str(config.get(pattern, "")) if pattern.endswith("_pattern") else pattern

    return tuple(
        Drop(position=name, label=label, rate=drop_rates[rate], pattern=found(pattern))
        for name, label, rate, pattern in _POSITIONS
        if isinstance(drop_rates[rate], int | float) and drop_rates[rate] > 0
    )
