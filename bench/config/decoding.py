"""Settings of decoding, apart from the search so that tasks can hold them without torch.

The search itself is `bench.tasks.generation`.
"""

from typing import Annotated

from pydantic import Field

from gapbench.bench.core.schema import FrozenModel


class Decoding(FrozenModel):
    """Settings of beam search; one beam is greedy decoding.

    The defaults are those of LoRA's GPT-2 experiments on WebNLG and DART (Hu et al. 2022), which
    HiddenKey and BiLoRA keep; for E2E the length penalty there is 0.9.
    """

    beams: int = Field(
        default=10, ge=1, le=1000, description="sequences kept for each input; 1 decodes greedily"
    )
    length_penalty: float = Field(
        default=0.8,
        ge=0.0,
        le=100.0,
        description="power of the token count that divides a sequence's log-probability; higher "
        "values give longer texts, 0 turns it off",
    )
    no_repeat_ngram: int = Field(
        default=4,
        ge=0,
        le=1000,
        description="size of the n-grams that must not repeat, prompt included; 0 allows all",
    )
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        description="texts that end an answer: it is cut before the first of them. Decoding goes "
        "on to the end token, so that this costs time",
    )
    max_new_tokens: int = Field(
        default=64,
        ge=1,
        le=100_000,
        description="largest number of tokens in a text, end token included",
    )
