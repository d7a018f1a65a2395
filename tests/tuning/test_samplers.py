"""Samplers by name: all of them serve a study, and the name decides what is drawn."""

import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import BaseSampler

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.tuning import samplers
from gapbench.bench.tuning.schema import TrialState
from gapbench.bench.tuning.space import START
from tests.support.planted_study import SPACE, carry_out, plan, session
from tests.support.small_suite import REPOSITORY

Drawn = Callable[[str | None], list[Mapping[str, Any]]]


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Return a function that gives the trials of a sampler, or where none is named; once each."""

    @cache
    def drawn(name: str | None) -> list[Mapping[str, Any]]:
        return _drawn(tmp_path_factory.mktemp("drawn"), **({"sampler": name} if name else {}))

    return drawn


def _drawn(folder: Path, **search: Any) -> list[Mapping[str, Any]]:
    opened = session(plan(24, **search), folder)
    carry_out(opened)
    rows = opened.rows()
    assert all(row.state == TrialState.COMPLETE for row in rows)
    return [row.params for row in rows]


@pytest.mark.parametrize("name", samplers.classes())
@pytest.mark.filterwarnings("error")
def test_every_sampler_draws_trials_inside_the_space_that_differ(
    name: str, drawn_once: Drawn
) -> None:
    """Two waves beyond the first eight trials, which are the same for all samplers."""
    drawn, usual = drawn_once(name), drawn_once(None)
    assert len(drawn) == 24
    assert drawn[:START] == usual[:START]
    assert (drawn[START:] == usual[START:]) == (name == samplers.DEFAULT)
    assert len({str(each) for each in drawn}) > 16
    for each in drawn:
        for setting, dimension in SPACE.items():
            low, high = dimension.low, dimension.high
            assert low is not None
            assert high is not None
            assert low <= each[setting] <= high


@pytest.mark.parametrize("name", ["gp", "cmaes"])
def test_same_seed_draws_the_same_trials(name: str, tmp_path: Path, drawn_once: Drawn) -> None:
    """A sampler that is made anew for every trial is as good as its seed."""
    assert drawn_once(name) == _drawn(tmp_path, sampler=name)


def test_default_sampler_keeps_the_names_of_studies() -> None:
    """A study of an earlier version is found again; another sampler makes another study."""
    assert plan(sampler="tpe").name == "planted-animals-tiny-lora-default-5a5e65ba39f0"
    assert plan(sampler="gp").name != plan().name


@pytest.mark.parametrize(("name", "made"), samplers.classes().items())
def test_name_of_the_class_means_the_same_study(name: str, made: type[BaseSampler]) -> None:
    """So that a search goes on whichever name is given; the page lists the short names."""
    assert plan(sampler=made.__name__).search.sampler == name
    assert plan(sampler=made.__name__).name == plan(sampler=name).name
    page = (REPOSITORY / "docs" / "tuning.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with samplers of one's own, as they would wrap those of a hub."""
    (tmp_path / "mine.py").write_text(
        "from optuna.samplers import GridSampler, QMCSampler\n"
        "class Mine(QMCSampler):\n"
        "    def __init__(self, seed):\n"
        "        super().__init__(seed=seed, qmc_type='halton')\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


@pytest.mark.usefixtures("mine")
@pytest.mark.filterwarnings("error")
def test_sampler_of_a_module_draws(tmp_path: Path) -> None:
    """After the first eight trials, which are those of all samplers; twice the same."""
    samplers.check("mine:Mine", 1)
    drawn, usual = _drawn(tmp_path / "own", sampler="mine:Mine"), _drawn(tmp_path / "usual")
    assert drawn[:START] == usual[:START]
    assert drawn[START:] != usual[START:]
    assert drawn == _drawn(tmp_path / "again", sampler="mine:Mine")
    assert plan(sampler="mine:Mine").name != plan().name


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent:Mine", "'absent:Mine': cannot be imported: ModuleNotFoundError: No module named"),
        ("mine:Other", "cannot be imported: AttributeError: module 'mine' has no attribute 'Oth"),
        ("mine:number", "must be a subclass of optuna.samplers.BaseSampler that takes 'seed'"),
        ("mine:GridSampler", "needs no other argument; wrap it in one"),
        (":Mine", "cannot be imported: ValueError: Empty module name; give the module and"),
    ],
)
def test_what_is_no_sampler_of_a_module_is_refused(name: str, told: str) -> None:
    """Before a study is made, with the way out."""
    with pytest.raises(ConfigError, match=re.escape(told)):
        samplers.check(name, 1)


@pytest.mark.parametrize(
    ("name", "objectives", "told"),
    [
        ("GridSampler", 1, "'GridSampler' is unknown; allowed: cmaes, gp"),
        ("grid", 1, "'grid' is unknown; allowed: cmaes, gp"),
        ("pte", 1, "did you mean 'tpe'"),
        ("cmaes", 2, "--objective score or --sampler tpe"),
    ],
)
def test_a_sampler_that_cannot_serve_is_refused(name: str, objectives: int, told: str) -> None:
    """The message names the option, the value and the way out."""
    with pytest.raises(ConfigError, match=told):
        samplers.check(name, objectives)


def test_sampler_whose_package_is_missing_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is searched."""
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(ConfigError, match=r"--sampler cmaes: .*'gapbench\[cmaes\]'"):
        samplers.check("cmaes", 1)
