"""LoRA Dropout: random columns of A and rows of B are zeroed, in several copies at once.

Source: Lin et al. 2024, "LoRA Dropout as a Sparsity Regularizer for Overfitting Control",
equations 2, 3, 7 and 8. A copy is ``W0 x + scaling * (m_B * B) (A * m_A) x`` with one mask for all
tokens and examples; a step averages the loss over copies, and a trained run is scored by the mean
output of copies.

Where the paper is silent (first the choice here, then the alternative):
1. Nothing is rescaled, as in equations 2 and 3; ``rescale: true`` divides by 1 - rate on each side.
2. The ensemble averages logits, the case of the paper's theorem 4.5; ``average:
   probabilities`` averages probabilities.
3. The same number of copies trains and scores a run; ``test_instances`` sets another number.
4. Copies for evaluation are drawn once per run, so each is one model for all examples and all
   evaluations; the alternative would draw them again every time.
5. One pass without an ensemble uses the expected update, (1 - rate)^2 times the unmasked one;
   ``inference: raw`` uses the unmasked one.
6. Scaling is alpha / rank as in LoRA; the paper writes none.

Deviations:
1. By default query and value are adapted, as for every method here, so that the comparison with
   LoRA has equal targets; the paper's baselines adapt all six projections of a DeBERTa layer.
2. Rates are resolved to 1/65,536.
3. An initial adapter's A and B are masked without rescaling, like any others: at rate 0.5 the
   copies and the expected update begin with a quarter of it. The paper does not say how it starts;
   ``rescale: true`` begins with all of it in expectation.
"""

from gapbench.methods._shared.masked_lora import MaskedLowRank, MaskingConfig


class LoraDropout(MaskedLowRank[MaskingConfig]):
    """LoRA trained and scored in masked copies."""

    name = "lora_dropout"
    reference = "Lin et al. 2024, arXiv:2404.09610, equations 2, 3, 7 and 8"
    Config = MaskingConfig
