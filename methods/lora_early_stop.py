"""LoRA that stops when validation no longer improves.

Source: Prechelt 1998, "Early Stopping - But When?", criterion UP with strips of one evaluation.

Every method here is scored at its best checkpoint on validation, so stopping early can only lose a
later improvement. Its benefit is lower cost. The patience is 3 evaluations: one or two bad points
do not end a run, and a run that overfits from the start ends at the 4th evaluation. A budget of 3
evaluations or fewer is never cut short.

Deviations:
1. An evaluation counts as bad when it does not beat the best one so far; Prechelt's UP compares
   with the previous evaluation.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gapbench.methods._shared.lowrank import LowRank, LowRankConfig


class LoraEarlyStop(LowRank[LowRankConfig]):
    """LoRA with patience 3."""

    name = "lora_early_stop"
    reference = "Prechelt 1998, doi:10.1007/3-540-49430-8_3"
    Config = LowRankConfig
    training: ClassVar[Mapping[str, Any]] = {"patience": 3}
