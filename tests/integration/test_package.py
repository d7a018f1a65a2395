"""The built wheel: what travels in it, and that it works where the repository is not."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EDITABLE = REPOSITORY / "src"
FOLDERS = ("bench", "methods", "suites", "reports")
SOURCES = (
    *FOLDERS,
    "src",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "results/reference/published",
    "results/reference/claims.yaml",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, so that the repository stays as it is."""
    pytest.importorskip("build", reason="the extra `dev` brings the build front end")
    pytest.importorskip("setuptools", reason="building without isolation needs the back end here")
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=leave_out, symlinks=True)
        else:
            shutil.copy(source, folder / name)
    run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."],
        folder,
    )
    (built,) = (folder / "dist").glob("gapbench-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run([*pip, "--disable-pip-version-check", "--target", str(folder), str(wheel)], folder)
    return folder


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command elsewhere and return what it prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


KINDS = ("suites", "tasks", "methods", "backbones")
LISTING = (
    "from gapbench.bench.cli.main import main\n"
    f"for what in {KINDS}:\n"
    "    main(['list', what, '--json'])\n"
)


def listed(packages: Path, elsewhere: Path) -> dict[str, set[str]]:
    """Return the names that a package lists of each kind when it is called from another folder."""
    lines = run([sys.executable, "-c", LISTING], elsewhere, PYTHONPATH=str(packages)).splitlines()
    return {
        kind: {row["name"] for row in json.loads(line)}
        for kind, line in zip(KINDS, lines, strict=True)
    }


@pytest.fixture(scope="module")
def names(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Names that the installed package lists, by kind."""
    return listed(installed, tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize(
    "pattern",
    [
        "suites/*.yaml",
        "suites/papers/*.yaml",
        "suites/tasks/*.yaml",
        "bench/synthetic/backbones/*/*",
        "methods/looks.txt",
        "reports/templates/*",
        "results/reference/published/*.csv",
        "results/reference/claims.yaml",
        "*/**/*.py",
    ],
)
def test_wheel_holds_every_file_of_a_kind(wheel: Path, pattern: str) -> None:
    """Suites, tasks, backbones, templates, type marks and code travel with the package."""
    wanted = {
        f"gapbench/{path.relative_to(REPOSITORY).as_posix()}"
        for path in REPOSITORY.glob(pattern)
        if path.is_file() and path.relative_to(REPOSITORY).parts[0] in (*FOLDERS, "results")
    }
    assert wanted
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    """One import name, and below it no tests, no results but what papers say, no caches."""
    names = [name.split("/") for name in zipfile.ZipFile(wheel).namelist()]
    tops = {parts[0] for parts in names if not parts[0].endswith(".dist-info")}
    assert tops == {"gapbench"}
    inside = {parts[1] for parts in names if parts[0] == "gapbench"}
    assert inside == {*FOLDERS, "results", "__init__.py", "__main__.py", "py.typed"}
    results = {tuple(parts[2:-1]) for parts in names if parts[:2] == ["gapbench", "results"]}
    assert results == {("reference",), ("reference", "published")}


def test_wheel_names_the_command_and_the_licence(wheel: Path) -> None:
    """Installing gives the command `gapbench`, and the licence comes along."""
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name: archive.read(name).decode() for name in archive.namelist() if "-info" in name
        }
    (entry_points,) = (text for name, text in texts.items() if name.endswith("entry_points.txt"))
    assert "gapbench = gapbench.bench.cli.main:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in texts)


def test_installed_package_is_the_one_that_is_tested(installed: Path, tmp_path: Path) -> None:
    """The other folder really uses the installed files and not the repository."""
    code = "import gapbench.bench; print(gapbench.bench.__file__)"
    shown = run([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(installed))
    assert Path(shown.strip()) == installed / "gapbench" / "bench" / "__init__.py"


STUDY = """
import sys, bench, methods, reports, suites

print(bench.MINE, methods.MINE, reports.MINE, suites.MINE)
from gapbench.bench.cli.main import main

part = ["--methods", "majority", "--tasks", "syn_sentiment", "--seeds", "1"]
if __name__ == "__main__":
    sys.exit(main(["run", "quickstart", *part]) or main(["report"]))
"""
"""A script beside folders of our names, on built-in data and a built-in backbone."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], tuple[Path, str]]:
    """Return a function that runs it with a package; it gives its folder and what it prints."""

    @cache
    def ran(packages: Path) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp("study")
        for name in FOLDERS:
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(f"MINE = '{name}'\n")
        (folder / "study.py").write_text(STUDY)
        command = [sys.executable, str(folder / "study.py")]
        return folder, run(command, folder, PYTHONPATH=str(packages))

    return ran


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_folders_of_the_same_names_beside_a_script_are_left_alone(
    installed: Path, study: Callable[[Path], tuple[Path, str]], *, editable: bool
) -> None:
    """A script with packages called bench, methods, reports and suites keeps those, and ours."""
    folder, shown = study(EDITABLE if editable else installed)
    assert shown.startswith("bench methods reports suites\n")
    assert "majority" in shown
    report = folder / "results" / "report"
    assert (report / "leaderboard.csv").exists()
    assert "syn_sentiment" in (report / "report.html").read_text(encoding="utf-8")


def test_editable_install_sees_a_new_method_file(tmp_path: Path) -> None:
    """A file put into `methods/` is found without a second installation."""
    for name in ("bench", "suites", "reports"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "methods", tmp_path / "methods")
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", symlinks=True)
    lora = (REPOSITORY / "methods" / "lora.py").read_text(encoding="utf-8")
    new = tmp_path / "methods" / "brand_new.py"
    new.write_text(lora.replace('name = "lora"', 'name = "brand_new"'), encoding="utf-8")
    assert {"lora", "brand_new"} <= listed(tmp_path / "src", tmp_path)["methods"]


def test_records_of_an_editable_install_name_the_commit(
    study: Callable[[Path], tuple[Path, str]],
) -> None:
    """Provenance follows the links below `src/` to the repository that the code is from."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("the sources here are no git repository")
    head = run(["git", "rev-parse", "HEAD"], REPOSITORY).strip()
    (path,) = (study(EDITABLE)[0] / "results" / "runs").rglob("seed-0.json")
    stated = json.loads(path.read_text(encoding="utf-8"))["provenance"]
    assert stated["git_commit"] == head
    assert stated["git_dirty"] in {True, False}


@pytest.mark.parametrize("what", KINDS)
def test_installed_command_lists_what_the_repository_holds(
    names: dict[str, set[str]], what: str
) -> None:
    """From any folder, the installed package finds its built-in parts."""
    suites = (path for path in REPOSITORY.glob("suites/**/*.yaml") if path.parent.name != "tasks")
    files = {
        "suites": suites,
        "tasks": REPOSITORY.glob("suites/tasks/*.yaml"),
        "methods": REPOSITORY.glob("methods/[a-z]*.py"),
        "backbones": REPOSITORY.glob("bench/synthetic/backbones/*"),
    }[what]
    assert {name.rpartition("/")[2] for name in names[what]} == {file.stem for file in files}


def test_installed_package_reads_the_published_figures_it_carries(
    installed: Path, tmp_path: Path
) -> None:
    """From any folder, the figures are those of the repository, read beside the code."""
    code = (
        "from gapbench.reports.tables import published as p; print(p._folder()); "
        "print(sorted(path.name for path in p._folder().iterdir())); print(len(p.scores()))"
    )
    where, names, count = run(
        [sys.executable, "-c", code], tmp_path, PYTHONPATH=str(installed)
    ).splitlines()
    assert Path(where) == installed / "gapbench" / "results" / "reference" / "published"
    stored = REPOSITORY / "results" / "reference" / "published"
    assert names == str(sorted(path.name for path in stored.glob("*.csv")))
    assert int(count) > 100


def test_installed_package_is_a_command(installed: Path, tmp_path: Path) -> None:
    """`python -m gapbench` is the command line."""
    shown = run(
        [sys.executable, "-m", "gapbench", "--version"], tmp_path, PYTHONPATH=str(installed)
    )
    assert shown.startswith("gapbench ")
