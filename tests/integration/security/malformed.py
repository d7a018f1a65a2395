"""Strategies for input that is wrong by construction, each with the word its message must hold."""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gapbench.bench.config.run import Budget, Training
from gapbench.bench.config.task import Task
from gapbench.bench.experiment.schema import Suite

LETTERS = st.text(st.characters(categories=["L"]), min_size=1, max_size=12)
ANY_TEXT = st.text(min_size=1, max_size=20)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
NO_NAME = st.text(max_size=20).filter(lambda text: not NAME.fullmatch(text))
LIST = st.lists(st.integers(), max_size=3)
MAPPING = st.dictionaries(LETTERS, st.integers(), min_size=1, max_size=2)
NO_NUMBER = LETTERS | LIST | MAPPING
BELOW_NONE = st.integers(max_value=-1) | st.floats(max_value=-1e-300)
NOT_FINITE = st.sampled_from([float("inf"), float("-inf"), float("nan")])
ENDLESS = st.integers(min_value=10**12) | st.floats(min_value=1e12, allow_infinity=False)
PART = st.floats(0.01, 0.99).map(lambda share: 7 + share)
COUNT = NO_NUMBER | BELOW_NONE | NOT_FINITE | PART | st.just(0)
RATE = NO_NUMBER | BELOW_NONE | NOT_FINITE | ENDLESS
NO_TEXT = st.integers() | LIST | MAPPING | st.floats(allow_nan=False)
NO_CHOICE = ANY_TEXT.map(lambda text: f"no {text}") | NO_TEXT


@dataclass(frozen=True)
class Wrong:
    """A field and a value that it cannot have.

    Attributes:
        place: the keys that lead to it.
        word: what the message must hold.
    """

    place: tuple[str, ...]
    value: Any
    word: str

    def laid_over(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document with the value in its place."""
        changed = copy.deepcopy(dict(content))
        inner = changed
        for key in self.place[:-1]:
            inner = inner.setdefault(key, {})
        inner[self.place[-1]] = self.value
        return changed


_SUITE: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("name",): NO_NAME | NO_TEXT,
    ("description",): NO_TEXT,
    ("tasks",): NO_TEXT | LETTERS | NO_NAME.map(lambda name: [name]),
    ("methods",): NO_TEXT | LETTERS | LETTERS.map(lambda name: [f"no{name}"]),
    ("backbones",): NO_TEXT | LETTERS | LETTERS.map(lambda name: [f"no{name}"]),
    ("seeds",): LETTERS | MAPPING | BELOW_NONE | ENDLESS | PART | BELOW_NONE.map(lambda n: [n]),
    ("budget",): st.just({}) | NO_NUMBER | NO_TEXT,
    ("budget", "steps"): COUNT | ENDLESS,
    ("budget", "epochs"): st.just(1) | RATE,
    ("budget", "batch_size"): COUNT | ENDLESS,
    ("budget", "evaluations"): COUNT | ENDLESS,
    ("budget", "train_size"): COUNT | st.just(1),
    ("training",): LETTERS | NO_TEXT,
    ("training", "learning_rate"): RATE | st.just(0),
    ("training", "weight_decay"): RATE,
    ("training", "warmup_fraction"): RATE | st.just(1),
    ("training", "schedule"): NO_CHOICE,
    ("training", "max_grad_norm"): NO_NUMBER | BELOW_NONE | NOT_FINITE | st.just(0),
    ("training", "patience"): COUNT,
    ("protocol",): NO_CHOICE,
    ("precision",): NO_CHOICE,
    ("backbone_dropout",): RATE | st.just(1),
}
_TASK: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("name",): NO_NAME | NO_TEXT | LETTERS,
    ("version",): COUNT,
    ("kind",): NO_CHOICE,
    ("description",): NO_TEXT,
    ("source",): NO_TEXT | LETTERS | st.just({}),
    ("source", "files"): NO_CHOICE,
    ("text",): NO_TEXT | LETTERS | st.just(["a", "b", "c"]),
    ("label",): NO_TEXT,
    ("labels",): st.integers() | MAPPING | LETTERS | st.just(["one"]),
    ("label_range",): st.integers() | MAPPING | LETTERS,
    ("group",): NO_TEXT,
    ("metrics",): NO_TEXT | LETTERS | LETTERS.map(lambda name: [f"no{name}"]),
    ("checkpoint_metric",): NO_CHOICE,
    ("splits",): LETTERS | NO_TEXT,
    ("splits", "train"): NO_NAME | NO_TEXT,
    ("validation_size",): COUNT,
    ("max_length",): COUNT | ENDLESS,
    ("generation",): LETTERS | NO_TEXT | st.just({}),
    ("choice",): LETTERS | NO_TEXT | st.just({}),
    ("span",): LETTERS | NO_TEXT | st.just({"version": "1.1"}),
    ("prompt",): ANY_TEXT | NO_TEXT,
    ("licence",): NO_TEXT,
}
_LORA: dict[str, st.SearchStrategy[Any]] = {
    "rank": COUNT,
    "alpha": NO_NUMBER | BELOW_NONE | NOT_FINITE | st.just(0),
    "dropout": RATE | st.just(1),
}


def _of(
    table: Mapping[tuple[str, ...], st.SearchStrategy[Any]],
) -> st.SearchStrategy[Wrong]:
    return st.sampled_from(sorted(table)).flatmap(
        lambda place: table[place].map(lambda value: Wrong(place, value, _word(place)))
    )


def _word(place: tuple[str, ...]) -> str:
    # A message may be about one of them: "method 'x'", "metric 'x'".
    return place[-1].removesuffix("s")


def _unknown(known: Mapping[str, object], *above: str) -> st.SearchStrategy[Wrong]:
    keys = LETTERS.filter(lambda key: key not in known)
    return st.tuples(keys, NO_TEXT).map(lambda pair: Wrong((*above, pair[0]), pair[1], pair[0]))


def _settings() -> st.SearchStrategy[Wrong]:
    """Return a setting of LoRA that it cannot have."""
    return st.sampled_from(sorted(_LORA)).flatmap(
        lambda name: _LORA[name].map(
            lambda value: Wrong(("methods",), [{"method": "lora", "config": {name: value}}], name)
        )
    )


SUITES = (
    _of(_SUITE)
    | _unknown(Suite.model_fields)
    | _unknown(Budget.model_fields, "budget")
    | _unknown(Training.model_fields, "training")
    | _settings()
)
TASKS = _of(_TASK) | _unknown(Task.model_fields)


@dataclass(frozen=True)
class Line:
    """A command line that cannot be meant, and the word its message must hold."""

    arguments: tuple[str, ...]
    word: str


PLAIN = LETTERS.map(lambda text: f"no{text}")
_NUMBERS = ("--seeds", "--workers", "--stack")
_CHOICES = ("--device", "--precision", "--engine", "--time-budget", "--retry")
_TUNING = ("--trials", "--steps", "--examples", "--seconds", "--trial-seeds", "--seed")
_BAD_NUMBER = (
    LETTERS.filter(lambda text: text != "auto")
    | st.integers(max_value=-1).map(str)
    | st.integers(min_value=10**18).map(str)
    | st.floats().map(str)
)
_WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("list", "{}"), "{}"),
    (("{}",), "{}"),
    (("plan", "{}"), "unknown suite"),
    (("run", "SUITE", "--methods", "{}"), "method"),
    (("run", "SUITE", "--tasks", "{}"), "task"),
    (("plan", "SUITE", "--data", "DATA", "--backbone", "{}"), "backbone"),
    (("check", "SUITE", "--data", "{}"), "--data"),
    (("run", "SUITE", "--x{}"), "--x"),
    (("run", "SUITE", "--checkpoint-minutes={}"), "--checkpoint-minutes"),
    (("tune", "SUITE", "--pruner", "{}"), "--pruner"),
    (("tune", "SUITE", "--space", "{}"), "--space"),
    (("tune", "SUITE", "--objective", "{}"), "--objective"),
    (("run", "--results", "{}"), "SUITE"),
    (("status", "{}"), "results folder"),
    (("report", "{}"), "results folder"),
    (("leaderboard", "{}", "--latex"), "results folder"),
    (("compare", "lora", "head", "{}"), "results folder"),
    (("compare", "{}"), "B"),
    (("reproduce", "{}"), "run hash"),
    (("export", "{}"), "--out"),
    (("score", "--task", "{}"), "--predictions"),
    (("score", "--task", "{}", "--predictions", "a", "--references", "b"), "task"),
    (("init", "SUITE", "--text", "{}", "--label", "b"), "--data"),
    (("init", "{}", "--data", "a.csv", "--text", "a", "--label", "b"), ".yaml"),
    (("fetch", "SUITE"), "--out"),
    (("bench", "--stacks={}"), "--stacks"),
    (("bench", "--precision={}"), "--precision"),
    (("bench", "--backbone={}"), "backbone"),
    (("tune", "SUITE", "--trials", "1", "--steps", "{}"), "--steps"),
)


def _filled(pair: tuple[tuple[tuple[str, ...], str], str]) -> Line:
    (arguments, word), text = pair
    return Line(tuple(part.replace("{}", text) for part in arguments), word.replace("{}", text))


def _number(command: str) -> Callable[[tuple[str, str]], Line]:
    return lambda pair: Line((command, "SUITE", f"{pair[0]}={pair[1]}"), pair[0])


LINES = (
    st.tuples(st.sampled_from(_WORDS), PLAIN).map(_filled)
    | st.tuples(st.sampled_from(_NUMBERS), _BAD_NUMBER).map(_number("run"))
    | st.tuples(st.sampled_from(_TUNING), _BAD_NUMBER).map(_number("tune"))
    | st.tuples(st.sampled_from(_CHOICES), PLAIN).map(_number("run"))
)


def broken(text: str) -> st.SearchStrategy[bytes]:
    """Return a text with some of its bytes taken out and others put in."""
    raw = text.encode()

    def changed(parts: tuple[int, int, bytes]) -> bytes:
        start, length, new = parts
        return raw[:start] + new + raw[start + length :]

    return st.tuples(
        st.integers(0, len(raw)), st.integers(0, 20), st.binary(max_size=8) | _MARKS
    ).map(changed)


_MARKS = st.text("[]{}&*!:,-?#|>%@`'\" \n\t", max_size=8).map(str.encode)
