"""The order of imports, read from every import statement of the project."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("bench", "methods", "suites", "reports")

# From low to high: a room imports itself and what stands before it in its line.
ROOMS = {
    "bench": (
        *("core", "synthetic", "metrics", "config", "data", "store", "models", "adaptation"),
        *("tasks", "training", "profiling", "experiment", "execution", "tuning", "advice"),
        *("monitor", "tracking", "api", "cli"),
    ),
    "reports": (
        *("stats", "results", "tables", "verdict", "claims", "document", "prose", "figures"),
        *("sections", "render"),
    ),
}
ABOVE_ALL = ("bench.api", "bench.cli")  # the Python API and the command line, a layer of their own

# What may be imported from another top folder. Reports read records alone, and no torch; metrics
# say what single items add to them, and a reliability diagram draws the bins of the recorded error.
ALLOWED = {
    "bench": (),
    "methods": ("bench",),
    "suites": (),
    "reports": (
        *("bench.core", "bench.config", "bench.store"),
        *("bench.metrics", "bench.tuning.schema", "bench.tuning.summary"),
    ),
}


def modules(package: str) -> dict[str, Path]:
    """Return the file of every module of a top folder by dotted path."""
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
        for path in (REPOSITORY / package).rglob("*.py")
    }


def imported(path: Path, *, nested: bool = True) -> Iterator[tuple[int, str]]:
    """Yield line and dotted path of everything of the project that a file imports.

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
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, place = name.partition(".")
            assert top not in PACKAGES, f"{path}:{node.lineno}: {name} goes round the package"
            if top == "gapbench":
                yield node.lineno, place


def within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted path is one of some places or inside of one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def legal(module: str, name: str) -> bool:
    """Whether a module may import ``name``."""
    top, room = module.split(".")[:2]
    other, _, place = name.partition(".")
    if within(module, ABOVE_ALL) and (not other or other in PACKAGES):
        return other != "bench" or ordered(top, room, place)
    if other != top:
        return within(name, ALLOWED[top])
    return ordered(top, room, place)


def ordered(top: str, room: str, place: str) -> bool:
    """Whether a room may import a place of the same top folder."""
    order = ROOMS.get(top, ())
    other = place.partition(".")[0]
    return room not in order or other not in order or order.index(other) <= order.index(room)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_only_go_down(package: str) -> None:
    """No module imports, at any depth of its code, what stands above it."""
    found = modules(package)
    assert f"{package}.__init__" in found
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line} imports {name}"
        for module, path in found.items()
        for line, name in imported(path)
        if not legal(module, name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("top", ROOMS)
def test_every_folder_has_its_place_in_the_order(top: str) -> None:
    """A new room, or a module beside the rooms, would escape the test above."""
    files = [path.relative_to(REPOSITORY / top) for path in modules(top).values()]
    assert {path.parts[0] for path in files} - {"__init__.py"} <= set(ROOMS[top])


def test_public_class_has_a_name_of_its_own() -> None:
    """One meaning a name: two classes of one name would be mistaken for each other."""
    places: dict[str, list[str]] = {}
    for package in PACKAGES:
        for module, path in modules(package).items():
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(module)
    assert len(places) > 300
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_every_folder_of_tests_has_a_folder_that_it_tests() -> None:
    """Tests of a room lie in a folder of its name; two folders are about no single room."""
    tested = {path.parent for path in (REPOSITORY / "tests").rglob("test_*.py")}
    places = {folder.relative_to(REPOSITORY / "tests") for folder in tested}
    rooms = [place for place in places if place.parts[0] not in {"integration", "benchmarks"}]
    assert len(rooms) > 20
    for place in rooms:
        top = "" if place.parts[0] in PACKAGES else "bench"
        assert (REPOSITORY / top / place).is_dir(), f"tests/{place} tests nothing that there is"


@pytest.mark.parametrize(
    ("module", "name", "answer"),
    [
        ("bench.core.files", "bench.core.errors.DataError", True),
        ("bench.store.store", "bench.core.files.write", True),
        ("bench.core.files", "bench.store.store.Store", False),
        ("bench.training.trainer", "methods.lora.Lora", False),
        ("bench.cli.commands.report", "reports.render.build", True),
        ("bench.api.training", "bench.execution.scheduler.execute", True),
        ("methods.lora", "bench.models.run_axis.Stacked", True),
        ("methods.lora", "reports.tables.leaderboard", False),
        ("reports.tables.leaderboard", "bench.store.record.Record", True),
        ("reports.tables.leaderboard", "bench.training.trainer.Trainer", False),
        ("reports.stats.power", "reports.tables.leaderboard.rows", False),
        ("suites.__init__", "bench.core.errors", False),
    ],
)
def test_order_is_what_the_architecture_says(module: str, name: str, *, answer: bool) -> None:
    """Known arrows are judged as they should be, so that the test above can fail."""
    assert legal(module, name) is answer


def test_reader_of_imports_sees_the_known_ones() -> None:
    """The reader finds arrows that are certainly there."""
    lowrank = {name for _, name in imported(REPOSITORY / "methods" / "_shared" / "lowrank.py")}
    assert any(within(name, ("bench.adaptation.method",)) for name in lowrank)
    build = {name for _, name in imported(REPOSITORY / "reports" / "render" / "build.py")}
    assert any(within(name, ("bench.store.store",)) for name in build)


def test_imports_at_module_level_form_no_cycle() -> None:
    """All modules can be put in an order in which each imports only earlier ones."""
    found = {name: path for package in PACKAGES for name, path in modules(package).items()}
    graph = {
        name: {
            target
            for _, place in imported(path, nested=False)
            for target in (place, place.rpartition(".")[0])
            if target in found
        }
        for name, path in found.items()
    }
    assert sum(map(len, graph.values())) > 400
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


# Folders in which every file is found by its name; what loads them stands below some of them.
FOUND_BY_NAME = {
    "bench/adaptation/registry.py": "methods",
    "bench/cli/commands/__init__.py": "bench.cli.commands",
    "bench/config/task.py": "bench.tasks.kinds",
    "bench/execution/engines/__init__.py": "bench.execution.engines",
    "bench/metrics/base.py": "bench.metrics",
    "bench/tasks/kinds/__init__.py": "bench.tasks.kinds",
    "bench/tracking/__init__.py": "bench.tracking",
    "reports/sections/__init__.py": "reports.sections",
}


def test_only_folders_of_like_files_are_loaded_by_name() -> None:
    """No import hides from the tests above in a string, but those of discovery."""
    by_name = {"__import__", "import_module", "import_extra"}
    found = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in modules(package).values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in by_name
    }
    loads_a_library = {"bench/core/extras.py", "bench/core/process.py"}
    loads_what_the_user_names = {"bench/tuning/samplers.py"}
    assert found - loads_a_library - loads_what_the_user_names == set(FOUND_BY_NAME)


def test_methods_do_not_know_each_other() -> None:
    """A method imports the pieces in `methods/_shared`, and no other method."""
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line} imports {name}"
        for path in modules("methods").values()
        for line, name in imported(path)
        if name.startswith("methods.") and not within(name, ("methods._shared",))
    ]
    assert not wrong, "\n".join(wrong)
