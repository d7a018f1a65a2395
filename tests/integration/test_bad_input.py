"""Bad input of every kind: one clear line, the right exit code, and finished runs stay intact."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gapbench.bench.cli.main import main
from tests.support.bad_case import Bad
from tests.support.bad_inputs import CONTENT_CASES, SUITE_CASES, Case, cut, lora
from tests.support.bad_messages import CASES
from tests.support.small_suite import SmallSuite, call, make

Capture = pytest.CaptureFixture[str]

EXIT_USAGE, EXIT_FAILED_RUNS = 2, 3


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, make_backbone: Callable[[str], Path]) -> Path:
    """A valid suite of which one run is finished; tests spoil copies of it."""
    made = make(tmp_path_factory.mktemp("begun") / "small", make_backbone("bert"), seeds=1)
    assert main(["run", *made.running, "--methods", "majority"]) == 0
    return made.folder


@pytest.fixture
def small(tmp_path: Path, begun: Path) -> SmallSuite:
    """A copy of that suite in a folder of its own."""
    return SmallSuite(Path(shutil.copytree(begun, tmp_path / "small")))


def the_error(err: str) -> str:
    """Return the one line of an error message, which is the last of all."""
    (line,) = [line for line in err.splitlines() if line.startswith("gapbench: error: ")]
    assert err.endswith(f"{line}\n")
    assert "Traceback" not in err
    return line


@pytest.mark.parametrize("command", ["check", "plan", "run"])
@pytest.mark.parametrize("case", SUITE_CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_invalid_suite_is_refused(
    small: SmallSuite, capsys: Capture, case: Case, command: str
) -> None:
    """Every command that reads a suite refuses it with code 2 and one line, and stores nothing."""
    before = small.records()
    case.spoil(small)
    arguments = small.planning if command == "check" else small.running
    answer = call(capsys, command, *arguments, *case.flags)
    assert answer.code == EXIT_USAGE
    assert answer.out == ""
    message = the_error(answer.err)
    assert [part for part in case.says if part not in message] == [], message
    assert answer.err == f"{message}\n"
    assert small.records() == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_gets_its_message(
    tmp_path: Path, make_backbone: Callable[[str], Path], capsys: Capture, case: Bad
) -> None:
    """Each entry of the table is refused with exactly the message that stands there."""
    small = make(tmp_path / "small", make_backbone("bert"), seeds=1)
    case.spoil(small)
    arguments = small.running if case.data else [small.path, "--results", small.results]
    answer = call(capsys, "plan", *arguments, *case.flags)
    message = case.message
    places = {"suite": small.path, "task": small.task_path, "folder": small.folder}
    for name, place in places.items():
        message = message.replace(f"{{{name}}}", str(place))
    assert (answer.code, answer.out) == (EXIT_USAGE, "")
    assert answer.err == f"gapbench: error: {message}\n"


@pytest.mark.parametrize("case", CONTENT_CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_invalid_content_fails_the_check_and_the_runs(
    small: SmallSuite, capsys: Capture, case: Case
) -> None:
    """`check` refuses it with code 2; `run` records the same cause in each run and ends with 3."""
    before = small.records()
    case.spoil(small)
    answer = call(capsys, "check", *small.planning)
    assert answer.code == EXIT_USAGE
    said = answer.err.splitlines()
    (message,) = [line for line in said if all(part in line for part in case.says)]
    assert "is not valid: " in said[-1]
    answer = call(capsys, "run", *small.running)
    assert answer.code == EXIT_FAILED_RUNS
    assert "Traceback" not in answer.err
    assert message in answer.err
    after = small.records()
    assert before.items() <= after.items()
    added = [json.loads(after[path]) for path in after.keys() - before.keys()]
    assert added
    assert {record["status"] for record in added} == {"failed"}
    assert {record["detail"] for record in added} == {message}


def test_rank_above_the_layer_is_skipped_with_its_reason(
    small: SmallSuite, capsys: Capture
) -> None:
    """A rank that the layer does not have is a skipped run, which no attempt repeats."""
    lora(rank=25)(small)
    answer = call(capsys, "run", *small.running, "--json")
    assert answer.code == 0
    assert answer.json["now"] == {"skipped": 1}
    (path,) = (small.results / "runs").glob("animals/*/lora/*/seed-0.json")
    detail = json.loads(path.read_text())["detail"]
    assert detail.startswith("rank is 25, but layer bert.encoder.layer.0")
    assert detail.endswith("allows 1 to 24")
    assert call(capsys, "run", *small.running, "--json").json["now"] == {}


@pytest.mark.parametrize("below", ["file", "file/results"])
def test_results_that_cannot_be_written_are_refused(
    small: SmallSuite, capsys: Capture, below: str
) -> None:
    """A results folder that is a file, or lies below one, is refused before any training."""
    (small.folder / "file").write_text("here already")
    answer = call(capsys, "run", *small.planning, "--results", small.folder / below)
    assert answer.code == EXIT_USAGE
    message = the_error(answer.err)
    assert f"results folder {small.folder / below} cannot be written: " in message
    assert "give another one with --results DIR" in message
    assert (small.folder / "file").read_text() == "here already"


def test_report_that_cannot_be_written_is_refused(small: SmallSuite, capsys: Capture) -> None:
    """An output folder below a file is refused with the way out."""
    out = small.path / "out"
    answer = call(capsys, "report", small.results, "--out", out)
    assert answer.code == EXIT_USAGE
    assert f"{out} cannot be written" in the_error(answer.err)
    assert "--out" in the_error(answer.err)


@pytest.mark.parametrize("command", ["status", "report"])
def test_folder_without_results_is_named(small: SmallSuite, capsys: Capture, command: str) -> None:
    """A mistyped results folder does not look like an empty success."""
    answer = call(capsys, command, small.folder / "reslts")
    assert answer.code == EXIT_USAGE
    assert "reslts holds no plan and no record; run a suite first" in the_error(answer.err)


def test_truncated_record_is_done_again(small: SmallSuite, capsys: Capture) -> None:
    """A record cut off by a crash is redone with the same result; the others stay."""
    assert call(capsys, "run", *small.running).code == 0
    before = small.records()
    (cut_off,) = [path for path in before if "/lora/" in path]
    cut(cut_off, 200)(small.results)
    answer = call(capsys, "run", *small.running, "--json")
    assert answer.code == 0
    assert answer.json["now"] == {"ok": 1}
    after = small.records()
    new, old = json.loads(after.pop(cut_off)), json.loads(before.pop(cut_off))
    assert after == before
    assert (new["splits"], new["curve"]) == (old["splits"], old["curve"])


def test_truncated_plan_is_named(small: SmallSuite, capsys: Capture) -> None:
    """A damaged plan stops the commands that need it, with the file and the way out."""
    before = small.records()
    path = small.results / "plans" / "small.json"
    path.write_bytes(path.read_bytes()[:50])
    for command in (("run", *small.running), ("status", small.results), ("report", small.results)):
        answer = call(capsys, *command)
        assert answer.code == EXIT_USAGE
        assert f"{path}: not a plan; delete it and run the suite again" in the_error(answer.err)
    path.unlink()
    assert call(capsys, "run", *small.running).code == 0
    assert before.items() <= small.records().items()


def test_missing_device_is_named(
    small: SmallSuite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for a graphics card where there is none is refused with the way out."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    answer = call(capsys, "run", *small.running, "--device", "cuda")
    assert answer.code == EXIT_USAGE
    message = the_error(answer.err)
    assert "--device cuda: no CUDA device is available; use --device cpu or auto" in message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["0123456789abcdef"], "begins with '0123456789abcdef'; `gapbench report` lists them"),
        ([""], "begins with ''; "),
        (["nothing.json"], "nothing.json: cannot be read: No such file"),
        (["{record}"], "give their folder with --data DIR"),
        (["{record}", "--data", "{data}"], "pass the folder it was run with as --backbone DIR"),
        (["{record}", "--data", "{other}"], "the data here differ from those it was trained on"),
    ],
)
def test_record_that_cannot_be_reproduced_says_why(
    small: SmallSuite, capsys: Capture, arguments: list[str], says: str
) -> None:
    """`reproduce` asks for what it lacks instead of failing the run."""
    shutil.copytree(small.data, small.folder / "other")
    source, target = small.data, small.folder / "other"
    shutil.copy(source / "animals" / "validation.parquet", target / "animals" / "train.parquet")
    places = {
        "record": str(next((small.results / "runs").rglob("seed-0.json"))),
        "data": str(source),
        "other": str(target),
    }
    given = [argument.format(**places) for argument in arguments]
    answer = call(capsys, "reproduce", *given, "--results", small.results)
    assert answer.code == EXIT_USAGE
    assert says in the_error(answer.err)
