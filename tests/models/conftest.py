"""What tests of models share."""

import pytest

from gapbench.bench.models import attention


@pytest.fixture(params=["plainly", "fused"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attend as over few tokens on a CPU, and as over many."""
    monkeypatch.setattr(attention, "_FEW", 1000 if request.param == "plainly" else 0)
