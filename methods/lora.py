"""LoRA: a trained low-rank update beside frozen weights.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1:
``h = W0 x + (alpha / rank) B A x`` with A random and B zero.

Deviations:
1. A is drawn uniformly as PEFT and the authors' code do (Kaiming, a = sqrt(5)); the paper says
   Gaussian.
2. Where query, key and value are one fused projection (GPT-2, GPT-NeoX, Phi-3), the default adapts
   all of it, including the key, by one update of the given rank; the authors' code for GPT-2 gives
   query and value an update of that rank each. In GPT-2 both have the same number of parameters.
"""

from gapbench.methods._shared.lowrank import LowRank, LowRankConfig


class Lora(LowRank[LowRankConfig]):
    """LoRA on the target layers."""

    name = "lora"
    reference = "Hu et al. 2021, arXiv:2106.09685, section 4.1"
    Config = LowRankConfig
