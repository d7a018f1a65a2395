"""The scripts of `tests/benchmarks` still find all that they import; no other test runs them."""

import importlib
import pkgutil

import pytest

from tests import benchmarks


@pytest.mark.parametrize(
    "script", [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
)
def test_script_can_be_imported(script: str) -> None:
    """A name that moved elsewhere is noticed here, not when somebody measures."""
    importlib.import_module(f"tests.benchmarks.{script}")
