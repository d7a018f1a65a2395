"""The arrows between the packages, read from every import statement of the project."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("bench", "methods", "suites", "reports")

# What a package may import of the others. `reports` stands beside the engine, not on top of it.
ALLOWED = {
    "bench": ("bench",),
    "methods": ("bench", "methods"),
    "suites": (),
    "reports": (
        "reports",
        "bench.record",
        "bench.plans",
        "bench.store",
        "bench.documents",
        "bench.errors",
        "bench.paths",
        "bench.tune.record",
        "bench.tune.summary",
    ),
}


def modules(package: str) -> dict[str, Path]:
    """Return the file of every module of a package by dotted name."""
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
        for path in (REPOSITORY / package).rglob("*.py")
    }


def imported(path: Path, *, nested: bool) -> Iterator[str]:
    """Yield the dotted names of the project that a file imports.

    Args:
        path: a Python file.
        nested: whether imports inside functions count.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = str(node.module)
            # `from bench import data` names a module, `from bench.data import prepare` does not.
            names = [f"{base}.{a.name}" if base in PACKAGES else base for a in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_of_a_package_stay_within_its_layer(package: str) -> None:
    """No module imports, at any depth of its code, what its layer may not know."""
    found = modules(package)
    assert f"{package}.__init__" in found
    wrong = [
        f"{module} imports {name}"
        for module, path in found.items()
        for name in imported(path, nested=True)
        if not any(name == ok or name.startswith(f"{ok}.") for ok in ALLOWED[package])
    ]
    assert not wrong


def test_reader_of_imports_sees_the_known_ones() -> None:
    """The reader finds arrows that are certainly there, so the test above looks at something."""
    lowrank = set(imported(REPOSITORY / "methods" / "_lowrank.py", nested=True))
    assert {"bench.method", "bench.stack"} <= lowrank
    build = set(imported(REPOSITORY / "reports" / "build.py", nested=True))
    assert {"bench.store", "reports.load"} <= build
    commands = set(imported(REPOSITORY / "bench" / "commands" / "inspect.py", nested=True))
    assert {"bench.data", "bench.store"} <= commands


def test_imports_at_module_level_form_no_cycle() -> None:
    """All modules can be put in an order in which each imports only earlier ones."""
    found = {name: path for package in PACKAGES for name, path in modules(package).items()}
    graph = {
        name: {target for target in imported(path, nested=False) if target in found}
        for name, path in found.items()
    }
    assert len(graph) > 40
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_methods_do_not_know_each_other() -> None:
    """A method imports shared pieces, whose names start with an underscore, and no other method."""
    wrong = [
        f"{module} imports {name}"
        for module, path in modules("methods").items()
        for name in imported(path, nested=True)
        if name.startswith("methods.") and not name.startswith("methods._")
    ]
    assert not wrong
