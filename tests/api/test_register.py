"""Methods that no installed package has: registered by a script or a notebook, and run."""

import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

import gapbench
from gapbench.bench.adaptation import registry
from gapbench.bench.core import plugins
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.store import provenance
from gapbench.methods.head import Head
from tests.support.small_suite import PROCESSES, SmallSuite

SCRIPT = '''
import sys

import gapbench
from gapbench.methods.head import Head


@gapbench.register
class Mine(Head):
    """Head tuning by another name."""

    name = "mine"
    reference = "this script"

    def adapt(self, model, backbone):
        """Leave the backbone as it is."""
        return model


def main(path, data, results, workers):
    done = gapbench.run(path, data=data, results=results, workers=int(workers))
    print(done.outcome.now, done.failures.to_dict("records"))


if __name__ == "__main__":
    main(*sys.argv[1:])
'''


class Mine(Head):
    """Head tuning by another name."""

    name = "mine"
    reference = "this test"

    def adapt(self, model: nn.Module, backbone: object) -> nn.Module:  # noqa: ARG002
        """Leave the backbone as it is."""
        return model


def scores(results: gapbench.Results, method: str) -> list[float]:
    """Return the test losses of a method by seed."""
    runs = results.runs.query(f"method == {method!r}").sort_values("seed")
    return [float(loss) for loss in runs["test_loss"]]


def test_registered_method_runs_as_an_installed_one(small: SmallSuite) -> None:
    """It is listed, checked, run, compared with others and gives the numbers of its like."""
    assert gapbench.register(Mine) is Mine
    assert registry.get("mine") is Mine
    small.write_suite(methods=["head", "mine"])
    assert set(gapbench.check(small.path, data=small.data)["verdict"]) == {"ok"}
    results = gapbench.run(small.path, data=small.data, results=small.results, progress=False)
    assert results.outcome.now == {"ok": 4}
    assert scores(results, "mine") == scores(results, "head")
    assert results.compare("mine", "head").table["difference"].tolist() == [0.0]


def test_code_hash_covers_registered_classes_and_nothing_else() -> None:
    """An edited class is other code; without any, the hash is that of the installation."""
    hashes = [provenance.code_hash()]
    for text in ("return model", "return model.train()"):
        names: dict[str, type[Head]] = {}
        body = "class Edited(Head):\n    name = 'edited'\n    def adapt(self, model, backbone):\n"
        exec(f"{body}        {text}\n", {"Head": Head, "__name__": "notebook"}, names)  # noqa: S102
        gapbench.register(names["Edited"])
        hashes.append(provenance.code_hash())
    assert len(set(hashes)) == 3
    plugins.registered.clear()
    assert provenance.code_hash() == hashes[0]


def test_source_of_a_class_is_its_file_and_those_of_its_bases() -> None:
    """Helpers beside a class count, the package itself does not count twice."""
    assert plugins.source_of(Mine) == Path(__file__).read_text()
    assert plugins.source_of(Head) == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "lora"}, "an installed method is called 'lora'"),
        ({"name": "a/b"}, "method class Bad: field 'name': may hold letters"),
        ({"name": None}, "field 'name'"),
        ({"reference": None}, "field 'reference'"),
    ],
)
def test_incomplete_class_is_refused(fields: dict[str, object], message: str) -> None:
    """With the attribute that is wrong."""
    with pytest.raises(ConfigError, match=message):
        gapbench.register(type("Bad", (Mine,), fields))
    assert plugins.registered == {}


@pytest.mark.parametrize("thing", [3, object, gapbench.Method])
def test_what_is_no_method_is_refused(thing: object) -> None:
    """An abstract class is none yet."""
    with pytest.raises(ConfigError, match="is not a method; derive a class from Method"):
        gapbench.register(thing)  # type: ignore[type-var]


def test_class_that_registers_again_takes_the_place(small: SmallSuite) -> None:
    """As when a cell of a notebook is run again."""
    gapbench.register(type("Mine", (Mine,), {}))
    again = gapbench.register(Mine)
    assert registry.get("mine") is again
    assert len(plugins.registered) == 1
    assert small.path.exists()


@pytest.mark.slow
def test_method_of_a_script_runs_in_workers(small: SmallSuite, tmp_path: Path) -> None:
    """Worker processes import the script, and have its class."""
    small.write_suite(methods=["head", "mine"], seeds=2)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    said = tmp_path / "said"
    given = [str(small.path), str(small.data), str(small.results), "2"]
    process = PROCESSES.Process(target=as_script, args=(said, str(script), *given))
    process.start()
    process.join()
    assert process.exitcode == 0, said.with_suffix(".err").read_text()
    assert said.read_text() == "{'ok': 4} []\n"
    assert "in this process" not in said.with_suffix(".err").read_text()


def as_script(said: Path, script: str, *given: str) -> None:
    """Run a file as `python FILE` does; what it prints goes to files."""
    sys.argv = [script, *given]
    with (
        said.open("w") as out,
        said.with_suffix(".err").open("w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        runpy.run_path(script, run_name="__main__")


def test_method_without_a_file_runs_in_this_process(
    small: SmallSuite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Worker processes could not import it, so there are none, and this is said."""
    small.write_suite(methods=["head", "mine"], seeds=2)
    notebook = ModuleType("notebook")
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    exec(SCRIPT, vars(notebook))  # noqa: S102 - of this file
    notebook.main(str(small.path), str(small.data), str(small.results), "2")
    shown, said = capsys.readouterr()
    assert shown == "{'ok': 4} []\n"
    assert "method 'mine' is defined in a notebook or inside a function" in said
    assert "all runs are done in this process" in said


def test_method_without_a_file_is_refused_by_engines_elsewhere(small: SmallSuite) -> None:
    """Before anything is written."""
    pytest.importorskip("ray")

    class Local(Mine):
        """A class of a function."""

    gapbench.register(Local)
    small.write_suite(methods=["mine"])
    with pytest.raises(ConfigError, match="engine 'ray': method 'mine' is defined in a notebook"):
        gapbench.run(small.path, data=small.data, results=small.results, engine="ray")
    assert not small.results.exists()


def test_edited_method_is_said_to_leave_its_finished_runs(
    small: SmallSuite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their numbers stand for other code, of which a hash of settings knows nothing."""
    gapbench.register(Mine)
    small.write_suite(methods=["head", "mine"])
    where = {"data": small.data, "results": small.results, "progress": False}
    gapbench.run(small.path, **where)
    gapbench.run(small.path, **where)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(plugins.registered, "mine", (Mine, "another source"))
    gapbench.run(small.path, **where)
    assert "2 finished runs of mine stay, which other code made" in capsys.readouterr().err
