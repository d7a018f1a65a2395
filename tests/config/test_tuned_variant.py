"""Variants that were tuned are told from those whose names only end like theirs."""

import pytest

from gapbench.bench.config.tuned_variant import is_tuned, tuned_label


@pytest.mark.parametrize("variant", ["default", "rank 2", "tuned by hand"])
def test_winner_of_a_study_is_tuned(variant: str) -> None:
    """Its name says so, whatever the variant was called."""
    assert is_tuned(tuned_label(variant))
    assert not is_tuned(variant)


@pytest.mark.parametrize("variant", ["untuned", "finetuned", "", "tuned once"])
def test_word_that_ends_alike_is_not(variant: str) -> None:
    """A suite may call its variants anything."""
    assert not is_tuned(variant)
