"""What tests of models share."""

import pytest

from gapbench.bench.models import attention


@pytest.fixture(params=["plainly", "fused"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attend as over few tokens on a CPU, and as over many."""
    monkeypatch.setattr(attention, "_FEW", 1000 if request.param == "plainly" else 0)


@pytest.fixture(autouse=True)
def _format_installed(request: pytest.FixtureRequest) -> None:
    """Skip a test of NF4 where its package is not installed."""
    given = getattr(request.node, "callspec", None)
    if given is not None and "nf4" in given.params.values():
        pytest.importorskip("bitsandbytes", reason="NF4 needs the extra 'quantized'")
