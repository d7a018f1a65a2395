"""What figures share: the words for the row that others are compared with."""

from types import SimpleNamespace
from typing import Any

import pytest

from gapbench.reports.figures.board import reference_in_words


@pytest.mark.parametrize(
    ("references", "said"),
    [
        (("lora", "lora", ""), "lora"),
        (("lora", "head"), "the reference of its suite"),
        (("", ""), "the reference of its suite"),
    ],
)
def test_figure_names_a_reference_that_all_boards_share(
    references: tuple[str, ...], said: str
) -> None:
    """Suites may be compared with different rows, and one figure may show several of them."""
    found: list[Any] = [SimpleNamespace(verdict=SimpleNamespace(reference=r)) for r in references]
    assert reference_in_words(found) == said
