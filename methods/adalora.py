"""AdaLoRA: a low-rank update whose rank budget is spread over the layers by importance.

Source: Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
sections 3.1 to 3.3 and algorithm 1. ``W = W0 + scaling * P Lambda Q``; the least important triplets
(one singular value with its vectors) of all layers together are pruned until the average rank is
``rank``. From the same state, forward pass and allocation equal those of PEFT's AdaLora.

Deviations (1 to 4 are the authors' code and PEFT against the paper):
1. Penalty: the mean over all P and Q of the Frobenius norm of ``P^T P - I`` and ``Q Q^T - I``;
   the paper sums squared norms (equation 4).
2. Scaling: alpha / (init_rank + 1e-5) throughout, also after pruning; the paper has none.
3. Sensitivity multiplies the gradient with the parameter after the update that it caused; the
   paper takes both before it (algorithm 1).
4. Pruning starts after step tinit; the paper prunes at tinit (equation 12), but with the full
   budget. Triplets that tie with the last one pruned are pruned too.
5. Sensitivity uses gradients before clipping; the authors' loop uses them after it.
6. Steps count from 1 as in algorithm 1, so the target is reached even with tfinal = 0;
   callers of PEFT usually count from 0.
7. tinit and tfinal are shares of the steps by default, 0.15 and 0.45 (the script for RTE: 600 and
   1,800 of 3,900 steps, within GLUE's 0.09 to 0.18 and 0.43 to 0.58); the paper gives steps.
8. By default the rank goes from 12 to 8, the budget of LoRA at rank 8 and PEFT's defaults; in the
   authors' scripts it goes from 2 or 3 to 1.
9. If a suite sets weight decay, it also shrinks singular values, like matrices. The authors' code
   and PEFT do the same because of their shape.
10. Every evaluation may choose the checkpoint, even while more than the target rank is kept; the
   record's ``kept_ranks`` are the ranks of the scored checkpoint.
"""

from gapbench.methods._shared.adaptive_rank import AdaLoraConfig, AdaptiveRank


class AdaLora(AdaptiveRank[AdaLoraConfig]):
    """AdaLoRA on the target layers."""

    name = "adalora"
    reference = "Zhang et al. 2023, arXiv:2303.10512, sections 3.1 to 3.3"
    Config = AdaLoraConfig
