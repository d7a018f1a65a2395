"""What `import gapbench` offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gapbench
from gapbench.bench.core.errors import BenchError
from tests.support.small_suite import REPOSITORY

HEAVY = ("torch", "transformers", "datasets", "matplotlib")


def shown(code: str, *arguments: str) -> str:
    """Return what a program prints that knows ``HEAVY`` and sys."""
    whole = f"import sys\nHEAVY = {HEAVY!r}\n{code}"
    command = [sys.executable, "-c", whole, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_import_takes_no_time_and_loads_nothing_heavy() -> None:
    """The fastest of a few imports on a machine that may be busy takes less than 0.3 s."""
    code = (
        "from time import perf_counter\nbegan = perf_counter()\nimport gapbench\n"
        "seconds = perf_counter() - began\nassert not [n for n in HEAVY if n in sys.modules]\n"
        "dir(gapbench), gapbench.run, gapbench.tune, gapbench.check, gapbench.plan\n"
        "assert not [n for n in HEAVY if n in sys.modules]\nprint(seconds)"
    )
    assert min(float(shown(code)) for _ in range(3)) < 0.3


def test_reading_results_loads_no_training_library(old_results: Path) -> None:
    """Who only reads waits for no engine, and needs no memory for it."""
    code = (
        "import gapbench\nresults = gapbench.load(sys.argv[1])\n"
        "results.leaderboard(), results.verdict(), results.curves(), repr(results)\n"
        "results.compare('lora', 'head'), results.predictions(results.runs.iloc[0])\n"
        "gapbench.status(sys.argv[1])\n"
        "from gapbench.bench.cli.main import main\nassert main(['status', sys.argv[1]]) == 0\n"
        "print([n for n in HEAVY if n in sys.modules])"
    )
    assert shown(code, str(old_results)).splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", gapbench.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """A name leads to what it names, with a docstring."""
    found = getattr(gapbench, name)
    assert name == "__version__" or found.__name__ == name
    assert found.__doc__
    assert name in dir(gapbench)


def test_names_types_and_homes_agree() -> None:
    """What type checkers see, what `__all__` says and what is imported on demand are the same."""
    tree = ast.parse((REPOSITORY / "src" / "gapbench" / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in typed.body if isinstance(node, ast.ImportFrom)]
    seen = {str(node.module): tuple(sorted(alias.name for alias in node.names)) for node in imports}
    homes = {f"gapbench.bench.{home}": names for home, names in gapbench._HOMES.items()}
    assert seen == {home: tuple(sorted(names)) for home, names in homes.items()}
    found = {name for names in homes.values() for name in names}
    assert found | {"__version__"} == set(gapbench.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = gapbench.runn
    assert issubclass(gapbench.BenchError, Exception)
    assert gapbench.BenchError is BenchError
