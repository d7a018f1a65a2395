"""Code on pages works as it stands: Python runs, YAML is valid, and commands parse."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import gapbench
from gapbench.bench.cli.parser import build_parser
from gapbench.bench.config.run import Fingerprint
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import load as load_task
from gapbench.bench.config.task_files import parse as parse_task
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.schema import laid_over, validate
from gapbench.bench.data.sources import Sources
from gapbench.bench.experiment.schema import Suite
from gapbench.bench.experiment.suite import expand
from gapbench.bench.experiment.suite import load as load_suite
from gapbench.reports.claims.model import ClaimsFile
from tests.support import tiny_families
from tests.support.small_suite import REPOSITORY, SmallSuite, hasten_workers, make

PAGES = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
TYPED = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )?gapbench (.*)$", re.MULTILINE)
LESS = {"name": "page", "tasks": ["syn_sentiment"], "backbones": ["tiny-encoder"]}
LESS |= {"methods": ["lora"], "budget": {"epochs": 1}}
"""A suite that has what a part of a suite leaves out."""
TASKS = {"instruction": "dolly_5k", "choice": "mmlu_5_shots"}
"""By kind, a task that has what a part of a task file leaves out."""


class WithoutData(Sources):
    """Sources that take the rows of every task for present."""

    def data(self, task: Task) -> Fingerprint:
        """Return an identity that no rows have."""
        return Fingerprint(name=task.name, digest="0" * 16)


def blocks(language: str) -> list[Any]:
    """Return the code blocks of all pages in a language, each as a case named by its page."""
    return [
        pytest.param(block, id=f"{page.relative_to(REPOSITORY)}-{place}")
        for page in PAGES
        for place, (known, block) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")))
        if known == language
    ]


def commands(text: str) -> list[str]:
    """Return the arguments of every `gapbench` command in the code blocks of a page."""
    plain = [block for language, block in FENCED.findall(text) if not language]
    return TYPED.findall("\n".join([*plain, *INDENTED.findall(FENCED.sub("", text))]))


def check_command(command: str) -> None:
    """Parse the arguments of a command."""
    build_parser().parse_args(shlex.split(command, comments=True))


def check_yaml(text: str) -> None:
    """Validate a file of claims, a suite, a task file, or a part of one of the last two.

    Names of tasks, methods and their settings are looked up too.
    """
    content = yaml.safe_load(text)
    if {*content} <= {*ClaimsFile.model_fields}:
        validate(ClaimsFile, content, "claims")
    elif {*content} <= {*Suite.model_fields}:
        suite, _ = load_suite(content if "name" in content else LESS | content)
        assert expand(suite, WithoutData())
    elif "name" in content:
        parse_task(content, "task")
    else:
        kind = content.get("kind") or next(kind for kind in TASKS if kind in content)
        whole = load_task(TASKS[kind], None).model_dump()
        assert isinstance(parse_task(laid_over(whole, content), "task"), Task)


@pytest.fixture
def small(
    tmp_path: Path, make_backbone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> SmallSuite:
    """A suite of short runs, in whose folder the test works."""
    hasten_workers(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return make(tmp_path / "small", make_backbone("bert"), methods=["lora", "hiddenkey", "head"])


def run_block(block: str, small: SmallSuite, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run Python of a page and return its names.

    `gapbench.run` takes short runs for those of `quickstart`, with the arguments of the page.
    """
    run = gapbench.run

    def shorter(suite: str, **given: Any) -> gapbench.Results:
        assert suite == "quickstart"
        return run(small.path, data=small.data, progress=False, workers=1, **given)

    names: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setattr(gapbench, "run", shorter, raising=False)
        exec(compile(block, "page", "exec"), names)  # noqa: S102 - of this repository
    return names


def only(language: str, page: str) -> str:
    """Return the one block of a page in a language."""
    (found,) = [case.values[0] for case in blocks(language) if case.id.startswith(f"{page}-")]
    return str(found)


def test_python_of_the_readme_runs(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its runs are stored in the default folder, and the answer is printed."""
    names = run_block(only("python", "README.md"), small, monkeypatch)
    assert len(list(Path("results").rglob("seed-*.json"))) == 10
    assert "== ANSWER: animals" in capsys.readouterr().out
    assert {*names["results"].leaderboard()["method"]} == {"lora", "hiddenkey"}


def test_python_that_saves_the_text_part_of_a_backbone_runs(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tiny Gemma 3, in a folder that has the name of the page's."""
    tiny_families.save("gemma3", Path("google/gemma-3-4b-it"), tiny_families.LANGUAGE_MODEL)
    names = run_block(only("python", "docs/families.md"), small, monkeypatch)
    ids = torch.arange(4, 12)[None]
    with torch.inference_mode():
        whole, text = (names[name].eval()(input_ids=ids).logits for name in ("whole", "text"))
    assert torch.equal(whole, text)
    assert Path("gemma-3-4b-text/tokenizer.json").exists()


def test_python_that_compares_two_folders_runs(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed by seed: a folder and its copy do not differ."""
    gapbench.run(small.path, data=small.data, results="plain", progress=False, workers=1)
    shutil.copytree("plain", "bits")
    names = run_block(only("python", "docs/questions.md"), small, monkeypatch)
    assert len(names["difference"]) == 6
    assert not names["difference"].any()
    assert "sem" in capsys.readouterr().out


def test_all_python_on_pages_runs_in_a_test() -> None:
    """A new block needs a test above."""
    pages = [case.id.rpartition("-")[0] for case in blocks("python")]
    assert sorted(pages) == [
        "README.md",
        "docs/families.md",
        "docs/questions.md",
    ]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_on_pages_is_valid(block: str) -> None:
    """Against the schema of what it shows."""
    check_yaml(block)


@pytest.mark.parametrize("block", blocks("json"))
def test_json_on_pages_is_valid(block: str) -> None:
    """Each line is an object."""
    assert all(isinstance(json.loads(line), dict) for line in block.splitlines())


def test_blocks_in_other_languages_are_none() -> None:
    """A language that is new on the pages needs a test here."""
    known = {language for page in PAGES for language, _ in FENCED.findall(page.read_text())}
    assert known == {"", "json", "python", "yaml"}


def test_commands_on_pages_can_be_typed() -> None:
    """Every command in a code block has arguments that the command line takes."""
    found = {one for page in PAGES for one in commands(page.read_text(encoding="utf-8"))}
    assert len(found) > 30
    for command in found:
        check_command(command)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("methods: [lora, hiddenkei]", "unknown method 'hiddenkei'"),
        ("methods:\n  - {method: lora, config: {rang: 8}}", "rang"),
        ("tasks:\n  - task: rte\n    also_test: [hans]", "the classes of 'rte'"),
        ("tasks:\n  - task: dolly_5k\n    settings: {instruction: {decoding: {beem: 1}}}", "beem"),
        ("name: mine\nmethods: [lora]", "'budget' is required"),
        ("claims:\n  - id: more_rank_helps", "text' is required"),
        ("kind: instruction\ntext: [messages]\ninstruction: {message: true}", "message'"),
        ("choice: {options: choices, letter: true}", "letter'"),
    ],
)
def test_wrong_yaml_is_noticed(wrong: str, said: str) -> None:
    """Names and fields that do not exist, and what is left out of a whole file."""
    with pytest.raises(ConfigError, match=said):
        check_yaml(wrong)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ('import gapbench\ngapbench.run("quickstart", seed=5)', TypeError),
        ('import gapbench\ngapbench.run("quickstart", methods=["hiddenkei"])', ConfigError),
        ("import gapbench\ngapbench.runs", AttributeError),
        ("from gapbench import", SyntaxError),
    ],
)
def test_wrong_python_is_noticed(
    wrong: str, error: type[Exception], small: SmallSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, names and grammar."""
    with pytest.raises(error):
        run_block(wrong, small, monkeypatch)


@pytest.mark.parametrize("shape", ["```\n{}\n```", "Text:\n\n    {}\n", "    $ {}"])
@pytest.mark.parametrize(
    "wrong",
    ["gapbench rum quickstart", "gapbench run quickstart --epochs 5", "gapbench report a b"],
)
def test_wrong_commands_are_noticed(
    shape: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands, options and arguments that do not exist, in each form of a code block."""
    (command,) = commands(shape.format(wrong))
    with pytest.raises(SystemExit):
        check_command(command)
    assert "gapbench" in capsys.readouterr().err
