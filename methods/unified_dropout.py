"""The unified dropout framework: LoRA with dropping at any position, in any pattern, compensated.

Source: Wang et al. 2024, "LoRA Meets Dropout under a Unified Framework", arXiv:2403.00812, sections
3 and 4. With its defaults nothing is dropped and this is LoRA; HiddenKey, DropKey, HiddenCut,
DropAttention and R-Drop are presets of it.

Deviations, and choices where the paper is silent:
1. Equation 1 prints a keep mask of Bernoulli(p) for rate p; ours keeps with probability 1 - p, as
   equation 3 does.
2. A query that has lost all its keys gets all of them back; the paper is silent. In a causal model
   the first query sees one key and would otherwise lose it with probability p.
3. A span has length max(1, round(p * tokens)) and a start uniform among those at which it fits.
4. Kept values are rescaled for elements and columns of the feed-forward output, but not for spans
   and not in embeddings (`rescale`); the paper specifies elements only.
5. The consistency loss is a mean over examples (`reduction`); R-Drop's code sums over the batch.
6. With `kl` the gradient goes through the first pass only, as figure 3 marks it (`kl_both`: both).
7. In regression, P is the softmax over the features that the head gets (`regression_consistency`);
   the paper says "the last layer's representation", which is not a distribution.
8. Embeddings are dropped before positions are added, whole tokens at a time, as in cutoff.
9. No token is exempt, and the backbone's own dropout stays as the suite sets it.
10. A sink (GPT-OSS) is never dropped and keeps its share of a query's weight; the paper has none.
"""

from typing import ClassVar

from gapbench.methods._shared.dropout_config import DroppingConfig
from gapbench.methods._shared.dropout_method import RATE, DroppingLora
from gapbench.methods._shared.lowrank import Space


class UnifiedDropout(DroppingLora[DroppingConfig]):
    """The whole framework, with every position off until its rate is set."""

    name = "unified_dropout"
    reference = "Wang et al. 2024, arXiv:2403.00812, sections 3 and 4"
    Config = DroppingConfig
    tuned: ClassVar[Space] = {"logit_rate": RATE, "ffn_rate": RATE}
