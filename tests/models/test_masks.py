"""Counter-based masks: rate, independence, exactness of the expectation, and a pinned value."""

import numpy as np
import pytest
import torch
from scipy import stats

from gapbench.bench.models.masks import keep_mask, normal, site_keys, uniform

SHAPE = (16, 32, 63)


def _mask(seed: int, rate: float, site: str = "a", step: int = 0) -> np.ndarray:
    keep, _ = keep_mask(site_keys([seed], site, step), torch.tensor([rate]), SHAPE)
    return keep.numpy().reshape(SHAPE)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_rate_is_met_over_every_axis(rate: float) -> None:
    """Drop counts are binomial: over all, by example, by token and by feature."""
    dropped = ~np.stack([_mask(seed, rate) for seed in range(20)])
    assert stats.binomtest(int(dropped.sum()), dropped.size, rate).pvalue > 1e-4
    for axis in (1, 2, 3):
        counts = dropped.sum(axis=tuple(a for a in range(4) if a != axis))
        expected = dropped.size / len(counts) * rate
        chi = ((counts - expected) ** 2 / (expected * (1 - rate))).sum()
        assert stats.chi2.sf(chi, len(counts)) > 1e-4


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"site": "b"}, {"step": 1}, {"step": 2}], ids=lambda o: str(o)
)
def test_masks_of_other_seeds_sites_and_steps_are_independent(other: dict[str, object]) -> None:
    """Agreement between two masks is what independence gives, not more and not less."""
    first = _mask(1, 0.5)
    second = _mask(**{"seed": 1, "rate": 0.5, **other})
    agree = int((first == second).sum())
    assert stats.binomtest(agree, first.size, 0.5).pvalue > 1e-4


@pytest.mark.parametrize("lag", [(0, 0, 1), (0, 0, 2), (0, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_neighbouring_positions_are_independent(lag: tuple[int, int, int]) -> None:
    """A decision tells nothing of the one beside it, along features, tokens and examples."""
    dropped = np.stack([_mask(seed, 0.5) for seed in range(10)])
    shifted = np.roll(dropped, lag, axis=(1, 2, 3))
    agree = int((dropped == shifted).sum())
    assert stats.binomtest(agree, dropped.size, 0.5).pvalue > 1e-4


def test_pairs_of_rows_agree_as_often_as_chance() -> None:
    """No two token rows of a mask share more features than a binomial draw allows."""
    rows = _mask(7, 0.5).reshape(-1, SHAPE[2]).astype(np.int64)
    agree = rows @ rows.T + (1 - rows) @ (1 - rows).T
    upper = agree[np.triu_indices(len(rows), 1)]
    expected, spread = SHAPE[2] / 2, np.sqrt(SHAPE[2]) / 2
    assert abs(upper.mean() - expected) < 5 * spread / np.sqrt(len(upper))
    assert upper.std() == pytest.approx(spread, rel=0.05)
    assert upper.max() < expected + 7 * spread


def test_rescaling_is_the_reciprocal_of_the_resolved_keep_rate() -> None:
    """The scale keeps the expectation exactly at the rate that 16 bits resolve."""
    rates = torch.tensor([0.1, 0.0], dtype=torch.float64)
    _, scale = keep_mask(site_keys([1, 2], "a", 0), rates, (2, 2, 2))
    assert scale.flatten().tolist() == pytest.approx(
        [65536 / (65536 - round(6553.6)), 1.0], rel=1e-15
    )


def test_rate_zero_keeps_everything() -> None:
    """No decision drops at rate zero."""
    assert _mask(3, 0.0).all()


def test_masks_are_the_same_on_every_machine() -> None:
    """A mask is integer arithmetic alone, so its bits can be pinned."""
    packed = np.packbits(_mask(123, 0.5)[:1, :1, :32]).tobytes().hex()
    assert packed == "b2801311"


LIKE = torch.empty(0, dtype=torch.float64)


@pytest.mark.parametrize("draw", [uniform, normal])
def test_noise_has_its_distribution(draw: object) -> None:
    """A Kolmogorov-Smirnov test finds nothing; neighbours along every axis are uncorrelated."""
    drawn = draw(site_keys([3], "a", 0), SHAPE, LIKE)[0].numpy()
    law = stats.uniform if draw is uniform else stats.norm
    assert stats.kstest(drawn.ravel(), law.cdf).pvalue > 1e-3
    for values in (drawn, (drawn - law.mean()) ** 2):
        for lag in [(0, 0, 1), (0, 0, 2), (0, 1, 0), (1, 0, 0)]:
            found = stats.pearsonr(values.ravel(), np.roll(values, lag, axis=(0, 1, 2)).ravel())
            assert found.pvalue > 1e-4
    other = draw(site_keys([3], "a", 1), SHAPE, LIKE)[0].numpy()
    assert stats.pearsonr(drawn.ravel(), other.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("draw", [uniform, normal])
def test_noise_of_a_place_does_not_depend_on_padding_or_neighbours(draw: object) -> None:
    """More runs, rows or features leave every number as it was; float32 rounds float64."""
    wide = draw(site_keys([9, 4], "a", 2), (5, 6, 9), LIKE)
    narrow = draw(site_keys([4], "a", 2), (3, 6, 4), LIKE)
    assert torch.equal(wide[1:, :3, :, :4], narrow)
    single = draw(site_keys([4], "a", 2), (3, 6, 4), LIKE.float())
    torch.testing.assert_close(single.double(), narrow, rtol=0, atol=1e-5)
    assert torch.isfinite(single).all()
