"""Suites: finding them, selecting a part, and expanding it into runs.

`expand` turns a suite into runs. It needs the sources of data and backbones, because their
hashes are part of a run's identity.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from gapbench.bench.adaptation import registry
from gapbench.bench.config.run import (
    Budget,
    Cell,
    Fingerprint,
    Folds,
    Quantization,
    Resample,
    Run,
    SecondTest,
)
from gapbench.bench.config.task import Task
from gapbench.bench.config.task_files import load as load_task
from gapbench.bench.config.task_files import parse as parse_task
from gapbench.bench.config.task_sources import OwnSource
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.safe_parsing import read_yaml
from gapbench.bench.core.schema import changed, laid_over, suggest, validate
from gapbench.bench.data.sources import Sources, backbone_gguf
from gapbench.bench.experiment.schema import (
    MethodEntry,
    NamedTask,
    Suite,
    SuiteLike,
    TaskEntry,
    WantedPrecision,
)
from gapbench.bench.experiment.second_tests import second_test
from gapbench.bench.store.suite_plan import REFERENCE


@dataclass(frozen=True)
class PlannedRun:
    """A run and the label under which its suite shows it."""

    run: Run
    variant: str


def builtin_names() -> list[str]:
    """Return the names of the suites in the package, those in folders last."""
    return [
        f"{prefix}{name.removesuffix('.yaml')}"
        for prefix in ("", "papers/", "reference/")
        for name in sorted(
            entry.name for entry in files("gapbench.suites").joinpath(prefix).iterdir()
        )
        if name.endswith(".yaml")
    ]


def load(given: SuiteLike) -> tuple[Suite, Path | None]:
    """Return a suite, and the file it came from, if any.

    Args:
        given: a built-in name, the path of a YAML file, the suite itself, or its fields.

    Raises:
        ConfigError: if there is no such suite, or it is invalid.
    """
    suite, path = _read(given)
    # Not in the model: a restricted suite keeps changes of methods that it leaves out.
    known = [name for entry in suite.methods for name in (entry.method, entry.label)]
    for entry in suite.tasks:
        _require(list(entry.methods), known, suite.name, "method")
    if suite.reference != REFERENCE:
        _check_reference(suite)
    return suite, path


def _check_reference(suite: Suite) -> None:
    """Refuse a reference that is no row of the suite, or may be several."""
    method, _, variant = (part.strip() for part in suite.reference.partition("/"))
    own = [entry.variant for entry in suite.methods if entry.method == method]
    if (variant or "default") in own or (not variant and len(own) == 1):
        return
    rows = [
        entry.method if entry.variant == "default" else f"{entry.method} / {entry.variant}"
        for entry in suite.methods
    ]
    raise ConfigError(
        f"suite {suite.name!r}: field 'reference' is {suite.reference!r}, which "
        f"{'may be any of several variants' if own and not variant else 'the suite does not run'}; "
        f"{suggest(suite.reference, rows)}"
    )


def _read(given: SuiteLike) -> tuple[Suite, Path | None]:
    if isinstance(given, Suite):
        return given, None
    if isinstance(given, Mapping):
        return validate(Suite, given, "suite"), None
    if not isinstance(given, str | PathLike):
        raise ConfigError(
            f"suite: got {type(given).__name__}; give the name of a built-in suite, the path of a "
            "YAML file, a Suite, or a dict of its fields"
        )
    path = Path(given)
    if path.suffix not in {".yaml", ".yml"}:
        name = str(given)
        if name not in builtin_names():
            allowed = suggest(name, builtin_names())
            raise ConfigError(f"unknown suite {name!r}; {allowed}; or give the path of a YAML file")
        path = Path(str(files("gapbench.suites") / f"{name}.yaml"))
    return validate(Suite, read_yaml(path), str(path)), path


def restrict(
    suite: Suite,
    *,
    methods: Sequence[str] = (),
    task_names: Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
    backbone: str | None = None,
    precision: WantedPrecision | None = None,
    quantization: Quantization | None = None,
) -> Suite:
    """Return the part of a suite that flags select; its hashes stay the same.

    Raises:
        ConfigError: if a name is not in the suite.
    """
    change: dict[str, Any] = {}
    if methods:
        _require(methods, [entry.method for entry in suite.methods], suite.name, "method")
        change["methods"] = [entry for entry in suite.methods if entry.method in methods]
    if task_names:
        _require(task_names, [entry.task for entry in suite.tasks], suite.name, "task")
        change["tasks"] = [entry for entry in suite.tasks if entry.task in task_names]
    if seeds is not None:
        change["seeds"] = seeds
    if backbone is not None:
        entries = change.get("tasks", suite.tasks)
        change["tasks"] = [entry.model_copy(update={"backbones": ()}) for entry in entries]
        change["backbones"] = [backbone]
    if precision is not None:
        change["precision"] = precision
    if quantization is not None:
        change["quantization"] = quantization
    content = {field: getattr(suite, field) for field in Suite.model_fields}
    return validate(Suite, content | change, f"suite {suite.name!r}")


def expand(suite: Suite, sources: Sources, path: Path | None = None) -> list[PlannedRun]:
    """Return every run of the grid, seeds innermost; identical runs appear once per label.

    Raises:
        ConfigError: if a task, method or method setting is invalid.
        DataError, BackboneError: if a source cannot be reached.
    """
    folder = path.parent if path else None
    named: dict[tuple[str, bool], tuple[str, str]] = {}
    return [
        PlannedRun(Run(cell, seed), variant)
        for entry in suite.tasks
        for cell, variant in _cells(suite, entry, folder, sources, named)
        for seed in suite.seeds
    ]


def _cells(
    suite: Suite,
    entry: TaskEntry,
    folder: Path | None,
    sources: Sources,
    named: dict[tuple[str, bool], tuple[str, str]],
) -> Iterator[tuple[Cell, str]]:
    """Yield the cells of a task with their variants.

    Args:
        suite: the suite.
        entry: its entry of the task.
        folder: that the suite's file is in.
        sources: places of data and backbones.
        named: digest and place of the backbones so far, by name and whether templates count.
    """
    place = f"suite {suite.name!r}: task {entry.task!r}"
    task = _task(entry, folder, place)
    budget = _budget(suite, entry, place)
    data, tests = sources.data(task), _second_tests(entry, task, folder, sources, place)
    shared = {
        "task": task,
        "data": data,
        "start": _start(entry, folder, sources),
        "head": entry.head,
        "budget": budget,
        "protocol": suite.protocol,
        "backbone_dropout": suite.backbone_dropout,
        "precision": suite.precision,
        "quantization": suite.quantization,
        "gradient_checkpointing": suite.gradient_checkpointing,
        "accumulation": suite.accumulation,
        "resample": _without_repeats(suite.resample),
        "also_test": tests,
    }
    if task.tests_only:
        _require_untrained(place, suite)
    resolved = [_resolve(suite, entry, method) for method in suite.methods]
    templated = any(each.templated for each in (task, *(test.task for test in tests)))
    for name in entry.backbones or suite.backbones:
        backbone = sources.backbone(name, templated=templated)
        first = named.setdefault((backbone.name, templated), (backbone.digest, name))
        _check_backbone(suite, place, name, backbone, first)
        for method, own in zip(suite.methods, resolved, strict=True):
            yield Cell(**shared, backbone=backbone, method=method.method, **own), method.variant


def _budget(suite: Suite, entry: TaskEntry, place: str) -> Budget:
    """Return the budget of a task's runs."""
    replaced = {"epochs", "steps"} if {"epochs", "steps"} & entry.budget.keys() else set()
    changes = suite.budget.model_dump(exclude=replaced) | entry.budget
    budget = validate(Budget, changes, f"{place}: budget")
    if suite.resample == "per_seed" and budget.train_size is None:
        raise ConfigError(
            f"{place}: field 'resample' is 'per_seed', but the budget has no 'train_size', so "
            "every seed would train on all examples; give 'train_size', or set 'resample' to "
            "'fixed'"
        )
    if suite.accumulation > budget.batch_size:
        raise ConfigError(
            f"{place}: field 'accumulation' is {suite.accumulation}, but a batch has "
            f"{budget.batch_size} examples (field 'batch_size' of the budget); give at most that"
        )
    return budget


def _check_backbone(
    suite: Suite, place: str, given: str, backbone: Fingerprint, first: tuple[str, str]
) -> None:
    """Refuse a backbone that tables could not tell from an earlier one, or that is rounded twice.

    Args:
        suite: the suite.
        place: task of the suite, for the message.
        given: how the suite names the backbone.
        backbone: its identity.
        first: digest and given name of the first backbone that is called the same in tables.
    """
    digest, other = first
    if digest != backbone.digest:
        raise ConfigError(
            f"{place}: backbones {other!r} and {given!r} would both be called "
            f"{backbone.name!r} in tables and results; run each into a results folder of its "
            "own (--backbone, --results), or rename a folder"
        )
    if suite.quantization is not None and backbone_gguf(given) is not None:
        raise ConfigError(
            f"suite {suite.name!r}: field 'quantization' is {suite.quantization!r}, but the "
            f"backbone {given!r} is a GGUF file, whose weights would be rounded twice; leave "
            "the field out, or give the checkpoint that the file was made from"
        )


def _require_untrained(place: str, suite: Suite) -> None:
    """Refuse to train on a task without training rows."""
    trained = [entry.method for entry in suite.methods if registry.get(entry.method).trains]
    if trained or isinstance(suite.resample, Folds):
        what = f"method {trained[0]!r} cannot train on it" if trained else "folds cannot be cut"
        raise ConfigError(
            f"{place} has no training rows (field 'splits.train' is null), so {what}; name it in "
            "the field 'also_test' of a task with training rows, or run only methods that train "
            "nothing on it, such as 'untuned'"
        )


def _without_repeats(resample: Resample) -> Resample:
    """Return what decides a run: more repeats add runs and leave the others as they are."""
    return Folds(folds=resample.folds) if isinstance(resample, Folds) else resample


def _task(entry: NamedTask, folder: Path | None, place: str) -> Task:
    """Return the task of an entry; the paths of an entry are relative to the suite's file."""
    task = entry.definition or load_task(entry.task, folder)
    if entry.settings:
        task = parse_task(laid_over(task.model_dump(), entry.settings), f"{place}: settings")
    if isinstance(task.source, OwnSource):
        task = task.model_copy(update={"source": task.source.beside(folder or Path())})
    return task


def _second_tests(
    entry: TaskEntry, task: Task, folder: Path | None, sources: Sources, place: str
) -> tuple[SecondTest, ...]:
    """Return the other tasks on which every adapter of a task is scored."""
    names = [test.task for test in entry.also_test]
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"{place}: field 'also_test' names {doubled[0]!r} more than once")
    where = [f"{place}: also_test {name!r}" for name in names]
    return tuple(
        second_test(own, task, _task(test, folder, own), test.labels, sources)
        for own, test in zip(where, entry.also_test, strict=True)
    )


def _start(entry: TaskEntry, folder: Path | None, sources: Sources) -> Fingerprint | None:
    """Return the identity of the adapter that a task's runs start from, if there is one."""
    if entry.start is None:
        return None
    return sources.start((folder or Path()) / Path(entry.start).expanduser())


def _resolve(suite: Suite, entry: TaskEntry, method: MethodEntry) -> dict[str, Any]:
    """Return the config and training of a method on a task; the most specific value wins."""
    names = (method.method, method.label)
    changes = [entry.methods[name] for name in names if name in entry.methods]
    where = f" on task {entry.task!r}" if changes or entry.training else ""
    place = f"suite {suite.name!r}: method {method.method!r}{where}"
    config = dict(method.config)
    training = entry.training | dict(registry.get(method.method).training) | method.training
    for change in changes:
        config |= change.config
        training |= change.training
    return {
        "config": registry.resolve_config(method.method, config, f"{place}: config"),
        "training": changed(suite.training, training, f"{place}: training"),
    }


def _require(given: Sequence[str], present: list[str], suite: str, what: str) -> None:
    known = list(dict.fromkeys(present))
    for name in given:
        if name not in known:
            raise ConfigError(f"suite {suite!r} has no {what} {name!r}; {suggest(name, known)}")
