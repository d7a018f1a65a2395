"""Letters of rows: shared exactly where neither row beats the other."""

from itertools import combinations

import numpy as np
import pytest

from gapbench.reports.stats.letters import letters


def test_letters_of_overlapping_groups() -> None:
    """The example of a chain: the middle is told from neither end, and bears both letters."""
    assert letters({"best": (), "middle": (), "worst": ("best",)}) == {
        "best": "a",
        "middle": "ab",
        "worst": "b",
    }


@pytest.mark.parametrize("draw", range(20))
def test_two_share_a_letter_exactly_where_neither_beats_the_other(draw: int) -> None:
    """Of means with intervals of unlike widths, where "tied" is not transitive."""
    rng = np.random.default_rng(draw)
    means, errors = np.sort(rng.normal(size=7))[::-1], rng.uniform(0.05, 0.6, 7)
    names = [f"m{place}" for place in range(7)]
    beaten_by = {
        name: tuple(names[k] for k in range(j) if means[k] - means[j] > errors[k] + errors[j])
        for j, name in enumerate(names)
    }
    assert any(beaten_by.values())
    found = letters(beaten_by)
    for one, other in combinations(names, 2):
        apart = one in beaten_by[other]
        assert (not set(found[one]) & set(found[other])) == apart
    assert all(found.values())
    used = "".join(sorted(set("".join(found.values()))))
    assert found["m0"].startswith("a")
    assert used == "abcdefghijklmnopqrstuvwxyz"[: len(used)]


def test_no_letters_where_none_differ_or_there_are_too_few() -> None:
    """One letter for all says nothing; 27 rows, each better than the next, need 27."""
    assert letters({"lora": (), "dora": ()}) == {}
    names = [f"m{place}" for place in range(27)]
    assert letters({name: tuple(names[:place]) for place, name in enumerate(names)}) == {}
    assert len(set(letters({n: tuple(names[:p]) for p, n in enumerate(names[:26])}).values())) == 26
