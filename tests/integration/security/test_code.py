"""Nothing that is read runs: no pickle, no code beside weights, no tag, no import by a setting."""

import ast
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gapbench.bench.core.errors import BackboneError, ConfigError
from gapbench.bench.core.safe_parsing import read_yaml
from gapbench.bench.data import readers
from gapbench.bench.data.sources import Sources
from gapbench.bench.models.loading import load_tokenizer, unsupported_reason
from tests.support.small_stack import make_task
from tests.support.small_suite import REPOSITORY, SmallSuite, call

Capture = pytest.CaptureFixture[str]

# What would run code, or write outside a folder, on files that came from elsewhere.
RUNNING = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
} | {f"yaml.{name}Loader" for name in ("", "Full", "Unsafe")}
RUNNING |= {"yaml.full_load", "np.load", "os.system", "os.popen", "shutil.unpack_archive"}
UNPACKING = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "zipfile", "tarfile"}


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """A file that exists once a trap has been sprung."""
    return tmp_path / "sprung"


@pytest.fixture
def copy(tmp_path: Path, make_backbone: Callable[[str], Path]) -> Path:
    """A backbone folder to spoil."""
    return Path(shutil.copytree(make_backbone("bert"), tmp_path / "spoilt"))


def trapped(folder: Path, name: str, sprung: Path, **fields: Any) -> None:
    """Let a JSON file of a backbone ask for code that lies beside it."""
    (folder / "trap.py").write_text(f"open({str(sprung)!r}, 'w')\n")
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_trap_springs_where_it_is_unpickled(sprung: Path) -> None:
    """The traps of this file work, so that one that stays unsprung means something."""
    pickle.loads(pickle.dumps(Trap(sprung)))  # noqa: S301 - this is what must not happen elsewhere
    assert sprung.exists()


def test_pickled_weights_beside_safe_ones_are_not_read(
    small: SmallSuite, copy: Path, capsys: Capture, sprung: Path
) -> None:
    """Where a folder has both, the safetensors are loaded and the pickle stays closed."""
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    answer = call(capsys, "check", *small.planning, "--backbone", copy)
    assert answer.code == 0, answer.err
    assert not sprung.exists()


def test_adapter_inside_a_backbone_is_refused(copy: Path) -> None:
    """The model library would load it too, from a pickle if need be, and change the weights."""
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(BackboneError, match="holds an adapter too"):
        Sources().backbone(str(copy))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_known_family_is_ignored(
    small: SmallSuite, copy: Path, capsys: Capture, sprung: Path, file: str
) -> None:
    """A family that the library knows needs no code of its own, and gets none."""
    classes = {"AutoConfig": "trap.C", "AutoModelForSequenceClassification": "trap.M"}
    trapped(copy, file, sprung, auto_map=classes | {"AutoTokenizer": ["trap.T", "trap.T"]})
    answer = call(capsys, "check", *small.planning, "--backbone", copy)
    assert answer.code == 0, answer.err
    assert not sprung.exists()


def test_code_for_an_unknown_family_is_refused(copy: Path, sprung: Path) -> None:
    """A family that only its own code knows is refused with the way out, for all it offers."""
    trapped(copy, "config.json", sprung, auto_map={"AutoConfig": "trap.C"}, model_type="trap")
    with pytest.raises(BackboneError, match="program code of its own, which is never run; give a"):
        unsupported_reason(str(copy), make_task())
    trapped(
        copy,
        "tokenizer_config.json",
        sprung,
        auto_map={"AutoTokenizer": ["trap.T", None]},
        tokenizer_class="Trap",
    )
    with pytest.raises(BackboneError, match="program code of its own, which is never run; give a"):
        load_tokenizer(str(copy))
    assert not sprung.exists()


@pytest.mark.parametrize("content", ["[]", "5", '{"model_type": 5}', "[" * 100_000, "{", "\udcff"])
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_backbone_files_that_hold_anything_are_refused(copy: Path, file: str, content: str) -> None:
    """Whatever stands in a file of a backbone, reading it is an error that names the backbone."""
    (copy / file).write_bytes(content.encode(errors="surrogateescape"))
    messages = []
    for read in (partial(unsupported_reason, task=make_task()), load_tokenizer):
        try:
            read(str(copy))
        except BackboneError as error:
            messages.append(str(error))
    assert all("spoilt" in message for message in messages)
    # A tokenizer's settings may have fields of any name, and so one that means nothing to it.
    assert messages or (file, content) == ("tokenizer_config.json", '{"model_type": 5}')


def test_pickles_in_parquet_are_not_loaded(tmp_path: Path, sprung: Path) -> None:
    """A column whose type is described by a pickle, and one that holds pickles, are plain bytes."""
    trap = pickle.dumps(Trap(sprung))
    kind = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": trap}
    fields = [pa.field("typed", pa.binary(), metadata=kind), pa.field("held", pa.binary())]
    table = pa.table([[b"x"], [trap]], schema=pa.schema(fields, metadata={"pandas": b"{}"}))
    pq.write_table(table, tmp_path / "rows.parquet")
    assert readers.read(tmp_path / "rows.parquet") == {"typed": [b"x"], "held": [trap]}
    assert not sprung.exists()


@pytest.mark.parametrize("tag", ["object/apply:pathlib.Path.touch", "name:os.system", "tuple"])
def test_python_tags_are_refused(tmp_path: Path, sprung: Path, tag: str) -> None:
    """YAML makes plain data, whatever its tags ask for."""
    (tmp_path / "tags.yaml").write_text(f"a: !!python/{tag} ['{sprung}']")
    with pytest.raises(ConfigError, match="could not determine a constructor for the tag"):
        read_yaml(tmp_path / "tags.yaml")
    assert not sprung.exists()


def test_settings_of_a_method_import_nothing(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch, sprung: Path
) -> None:
    """PEFT imports modules that some of its settings name; those settings are refused."""
    (small.folder / "trap.py").write_text(f"open({str(sprung)!r}, 'w')\n")
    monkeypatch.syspath_prepend(small.folder)
    settings = {"megatron_config": {"a": 1}, "megatron_core": "trap"}
    small.write_suite(methods=[{"method": "peft:LORA", "config": {"settings": settings}}])
    answer = call(capsys, "run", *small.running)
    assert answer.code == 2
    assert "may not name program code to import, as 'megatron_config' does" in answer.err
    assert not sprung.exists()
    assert "trap" not in sys.modules


def called(tree: ast.AST) -> Iterator[str]:
    """Yield the names of what a module calls, and of the modules it imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            yield f"trust_remote_code={ast.unparse(node.value)}"


def test_no_module_runs_or_unpacks_what_it_reads() -> None:
    """No source file calls what would, so that a new one is noticed here."""
    paths = [
        path
        for package in ("bench", "methods", "reports", "suites")
        for path in (REPOSITORY / package).rglob("*.py")
    ]
    found = {name: path for path in paths for name in called(ast.parse(path.read_text()))}
    assert "yaml.parse" in found  # the search sees calls
    assert "re" in found  # and imports
    forbidden = RUNNING | UNPACKING | {"trust_remote_code=True"}
    # A submission is unpacked member by member, after its names and sizes were looked at.
    submission = REPOSITORY / "bench" / "store" / "submission.py"
    assert {n: path for n, path in found.items() if n in forbidden} == {"zipfile": submission}
