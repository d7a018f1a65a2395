"""Six families on every kind of task: exact, or refused with the reason."""

from pathlib import Path

import pytest

from tests.support.family_checks import TASKS, checked

NO_HEAD, NO_TEXT = "refused: has no head for it", "refused: writes no text"
EXPECTED = {
    "gemma2": ("exact", "exact", "exact", NO_HEAD),
    "gpt_oss": ("exact", "exact", "exact", NO_HEAD),
    "mistral": ("exact", "exact", "exact", "exact"),
    "mamba": (
        "exact",
        "refused: decoding from the cache fails against the whole text, so it decodes none",
        NO_HEAD,
        NO_HEAD,
    ),
    "bart": (NO_TEXT, NO_TEXT, "exact", "exact"),
    "albert": (NO_TEXT, NO_TEXT, "exact", "exact"),
}


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("family", EXPECTED)
def test_cell_of_the_table(family: str, kind: str, tmp_path: Path) -> None:
    """`tests/benchmarks/families.py` measures the other families in the same way."""
    assert str(checked(family, kind, tmp_path)) == EXPECTED[family][list(TASKS).index(kind)]
