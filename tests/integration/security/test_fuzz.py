"""Malformed suites, tasks and command lines: one line that names the field, code 2, no traceback.

Examples are the same in every run. `test_bad_input` holds a table of chosen ones to their messages.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.security.malformed import LINES, SUITES, TASKS, Line, Wrong, broken
from tests.support.small_suite import SUITE, TASK, Answer, SmallSuite, call, make

Capture = pytest.CaptureFixture[str]

EXIT_USAGE = 2


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Try a fixed number of examples, each in the same folder as the others."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=checks,
    )


@pytest.fixture
def small(
    tmp_path: Path, make_backbone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> SmallSuite:
    """A valid suite, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backbone").symlink_to(make_backbone("bert"))
    return make(tmp_path / "small", tmp_path / "backbone")


def refused(answer: Answer) -> str:
    """Return the message of a command that must have refused its input."""
    assert answer.code == EXIT_USAGE, answer
    assert answer.out == ""
    assert "Traceback" not in answer.err
    message = answer.err.splitlines()[-1]
    assert message.startswith("gapbench"), answer
    assert " error: " in message, answer
    return message


def written(path: Path, content: object) -> None:
    """Write a document as YAML."""
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


@fuzz(220)
@given(wrong=SUITES)
def test_malformed_suite_is_refused(small: SmallSuite, capsys: Capture, wrong: Wrong) -> None:
    """A field that a suite cannot have, or a value that its field cannot, is named."""
    backbone = str(small.folder.parent / "backbone")
    written(small.path, wrong.laid_over(SUITE | {"backbones": [backbone]}))
    assert wrong.word in refused(call(capsys, "plan", *small.running))


@fuzz(120)
@given(wrong=TASKS)
def test_malformed_task_is_refused(small: SmallSuite, capsys: Capture, wrong: Wrong) -> None:
    """Likewise of a task file."""
    written(small.task_path, wrong.laid_over(TASK))
    assert wrong.word in refused(call(capsys, "plan", *small.running))


@fuzz(160)
@given(line=LINES)
def test_malformed_command_line_is_refused(small: SmallSuite, capsys: Capture, line: Line) -> None:
    """An argument that cannot be meant is named, whatever the command."""
    places = {"SUITE": small.path, "DATA": small.data}
    given = [places.get(part, part) for part in line.arguments]
    assert line.word in refused(call(capsys, *given))
    assert not small.results.exists()


@fuzz(120)
@given(data=st.data())
def test_broken_file_is_refused_or_read(
    small: SmallSuite, capsys: Capture, data: st.DataObject
) -> None:
    """A suite file with some bytes changed is still a suite, or is refused by its name."""
    text = yaml.safe_dump(SUITE | {"backbones": [str(small.folder.parent / "backbone")]})
    small.path.write_bytes(data.draw(broken(text)))
    answer = call(capsys, "plan", *small.running)
    if answer.code != 0:
        refused(answer)
