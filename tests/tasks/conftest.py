"""What tests of tasks share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.causal_files import FAMILIES, make_decoder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a family's decoder."""
    folder = tmp_path_factory.mktemp("decoders")
    made = {family: make_decoder(folder / family, family) for family in FAMILIES}
    return made.__getitem__
