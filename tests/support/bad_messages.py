"""Bad input and the exact message that it gets, as one table.

``{suite}``, ``{task}`` and ``{folder}`` stand for the small suite's file, its task's file, and the
folder of the suite. ``gapbench plan`` ends with code 2 and this one line.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.bad_inputs import suite
from tests.support.small_suite import SmallSuite

LONG = "n" * 300
HASH = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Bad:
    """Something wrong, and the message after ``gapbench: error: ``."""

    name: str
    spoil: Callable[[SmallSuite], object]
    message: str
    flags: tuple[str, ...] = ()
    data: bool = True  # whether the folder of rows is given


def budget(**fields: Any) -> Callable[[SmallSuite], object]:
    """Give the suite another budget."""
    return suite(budget={"steps": 4} | fields)


def training(**fields: Any) -> Callable[[SmallSuite], object]:
    """Give the suite other optimiser settings."""
    return suite(training=fields)


def method(name: str = "lora", **fields: Any) -> Callable[[SmallSuite], object]:
    """Make one entry the suite's only method."""
    return suite(methods=[{"method": name} | fields])


def entry(**fields: Any) -> Callable[[SmallSuite], object]:
    """Give the suite's only task more fields."""
    return suite(tasks=[{"task": "animals"} | fields])


def task(**fields: Any) -> Callable[[SmallSuite], object]:
    """Write other fields into the task file."""
    return lambda small: small.write_task(**fields)


def text(content: str | bytes) -> Callable[[SmallSuite], object]:
    """Write something else for the suite file."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda small: small.path.write_bytes(raw)


def pipe(small: SmallSuite) -> None:
    """Put a pipe into the place of the suite file."""
    small.path.unlink()
    os.mkfifo(small.path)


def folder(small: SmallSuite) -> None:
    """Put a folder into the place of the suite file."""
    small.path.unlink()
    small.path.mkdir()


def as_it_is(_: SmallSuite) -> None:
    """Change nothing: the flags are what is wrong."""


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

CASES = [
    # Numbers that cannot be meant.
    Bad(
        "a billion seeds",
        suite(seeds=10**9),
        "{suite}: field 'seeds': a number of seeds must be at least 1 and at most 100000; "
        "got 1000000000",
    ),
    Bad(
        "no seeds",
        suite(seeds=0),
        "{suite}: field 'seeds': a number of seeds must be at least 1 and at most 100000; got 0",
    ),
    Bad(
        "empty list of seeds",
        suite(seeds=[]),
        "{suite}: field 'seeds': Value should have at least 1 item after validation, not 0; got []",
    ),
    Bad(
        "a seed twice",
        suite(seeds=[1, 1]),
        "{suite}: field 'seeds': seeds must differ; got [1, 1]",
    ),
    Bad(
        "negative seed",
        suite(seeds=[-1]),
        "{suite}: field 'seeds.0': Input should be greater than or equal to 0; got -1",
    ),
    Bad(
        "seed of 64 bits",
        suite(seeds=[2**63]),
        "{suite}: field 'seeds.0': Input should be less than 9223372036854775808; got "
        "9223372036854775808",
    ),
    Bad(
        "seeds in words",
        suite(seeds="three"),
        "{suite}: field 'seeds': should be a list; got 'three'",
    ),
    Bad(
        "part of a seed",
        suite(seeds=1.5),
        "{suite}: field 'seeds': should be a list; got 1.5",
    ),
    Bad(
        "too many runs",
        suite(seeds=40_000),
        "{suite}: fields 'tasks', 'backbones', 'methods' and 'seeds' make 120000 runs, but a "
        "suite may have at most 100000; split it",
    ),
    Bad(
        "endless epochs",
        suite(budget={"epochs": 1e308}),
        "{suite}: field 'budget.epochs': Input should be less than or equal to 1000000; got 1e+308",
    ),
    Bad(
        "endless steps",
        budget(steps=10**30),
        "{suite}: field 'budget.steps': Input should be less than or equal to 1000000000; "
        "got 1000000000000000000000000000000",
    ),
    Bad(
        "number of thousands of digits",
        text(f"seeds: 0x{'f' * 9000}"),
        "{suite}: field 'name' is required; field 'tasks' is required; field 'backbones' is"
        " required; field 'methods' is required; field 'seeds': a number of seeds must be "
        "at least 1 and at most 100000; got a number of thousands of digits; field 'budget'"
        " is required",
    ),
    Bad(
        "no length",
        suite(budget={}),
        "{suite}: field 'budget': give exactly one of 'epochs' and 'steps'; got {}",
    ),
    Bad(
        "two lengths",
        budget(epochs=1),
        "{suite}: field 'budget': give exactly one of 'epochs' and 'steps'; got {'epochs': "
        "1, 'steps': 4}",
    ),
    Bad(
        "batch of none",
        budget(batch_size=0),
        "{suite}: field 'budget.batch_size': Input should be greater than or equal to 1; got 0",
    ),
    Bad(
        "a billion evaluations",
        budget(evaluations=10**9),
        "{suite}: field 'budget.evaluations': Input should be less than or equal to 100000;"
        " got 1000000000",
    ),
    Bad(
        "one training example",
        budget(train_size=1),
        "{suite}: field 'budget.train_size': Input should be greater than or equal to 2; got 1",
    ),
    Bad(
        "rate above one",
        training(learning_rate=2),
        "{suite}: field 'training.learning_rate': Input should be less than or equal to 1; got 2",
    ),
    Bad(
        "rate that is no number",
        training(learning_rate=float("nan")),
        "{suite}: field 'training.learning_rate': Input should be a finite number; got nan",
    ),
    Bad(
        "endless warm-up",
        training(warmup_fraction=1),
        "{suite}: field 'training.warmup_fraction': Input should be less than 1; got 1",
    ),
    Bad(
        "unknown schedule",
        training(schedule="step"),
        "{suite}: field 'training.schedule': Input should be 'linear', 'cosine' or "
        "'constant'; got 'step'",
    ),
    Bad(
        "patience of none",
        training(patience=0),
        "{suite}: field 'training.patience': Input should be greater than or equal to 1; got 0",
    ),
    Bad(
        "unknown precision",
        suite(precision="fp8"),
        "{suite}: field 'precision': Input should be 'fp32', 'bf16', 'fp64' or 'auto'; got 'fp8'",
    ),
    Bad(
        "unknown protocol",
        suite(protocol="lenient"),
        "{suite}: field 'protocol': Input should be 'strict' or 'paper'; got 'lenient'",
    ),
    Bad(
        "negative backbone dropout",
        suite(backbone_dropout=-1),
        "{suite}: field 'backbone_dropout': Input should be greater than or equal to 0; got -1",
    ),
    # Names that would be paths, or more than text.
    Bad(
        "name that climbs",
        suite(name="../escape"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got '../escape'",
    ),
    Bad(
        "name from the root",
        suite(name="/etc/passwd"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got '/etc/passwd'",
    ),
    Bad(
        "name with a NUL",
        suite(name="a\0b"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got 'a\\x00b'",
    ),
    Bad(
        "name with a line break",
        suite(name="a\n"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got 'a\\n'",
    ),
    Bad(
        "long name",
        suite(name=LONG),
        "{suite}: field 'name': String should have at most 100 characters; got "
        "'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...",
    ),
    Bad(
        "name of look-alikes",
        suite(name="sm\u0430ll"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got 'sm\u0430ll'",
    ),
    Bad(
        "no name",
        suite(name=""),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got ''",
    ),
    Bad(
        "task that climbs",
        suite(tasks=["../secret"]),
        "{suite}: field 'tasks.0.task': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got '../secret'",
    ),
    Bad(
        "task from the root",
        suite(tasks=["/etc/passwd"]),
        "{suite}: field 'tasks.0.task': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got '/etc/passwd'",
    ),
    Bad(
        "long task",
        suite(tasks=[LONG]),
        "{suite}: field 'tasks.0.task': String should have at most 100 characters; got "
        "'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...",
    ),
    Bad(
        "variant with an escape sequence",
        method(variant="\x1b[2J"),
        "{suite}: field 'methods.0.variant': may hold no control characters and no line "
        "breaks; got '\\x1b[2J'",
    ),
    Bad(
        "variant that turns text round",
        method(variant="a\u202eb"),
        "{suite}: field 'methods.0.variant': may hold no control characters and no line "
        "breaks; got 'a\\u202eb'",
    ),
    Bad(
        "long variant",
        method(variant=LONG),
        "{suite}: field 'methods.0.variant': String should have at most 200 characters; got"
        " 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...",
    ),
    Bad(
        "backbone with a NUL",
        suite(backbones=["a\0b"]),
        "{suite}: field 'backbones.0': may hold no control characters and no line breaks; "
        "got 'a\\x00b'",
    ),
    Bad(
        "long backbone",
        suite(backbones=[LONG]),
        "backbone 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn' is neither built"
        " in (tiny-decoder, tiny-encoder), nor an existing folder, nor a hub id with a "
        "pinned revision such as 'owner/name@<commit hash>' (40 digits); give one of these "
        "by --backbone",
    ),
    Bad(
        "backbone of nobody",
        suite(backbones=["~nobody-at-all/x"]),
        "backbone '~nobody-at-all/x' is neither built in (tiny-decoder, tiny-encoder), nor "
        "an existing folder, nor a hub id with a pinned revision such as "
        "'owner/name@<commit hash>' (40 digits); give one of these by --backbone",
    ),
    Bad(
        "branch as revision",
        suite(backbones=["owner/name@main"]),
        "backbone 'owner/name@main' is neither built in (tiny-decoder, tiny-encoder), nor "
        "an existing folder, nor a hub id with a pinned revision such as "
        "'owner/name@<commit hash>' (40 digits); give one of these by --backbone",
    ),
    Bad(
        "repository that climbs",
        suite(backbones=[f"owner/..@{HASH}"]),
        "backbone 'owner/..@0123456789abcdef0123456789abcdef01234567' is neither built in "
        "(tiny-decoder, tiny-encoder), nor an existing folder, nor a hub id with a pinned "
        "revision such as 'owner/name@<commit hash>' (40 digits); give one of these by "
        "--backbone",
    ),
    Bad(
        "start that is not there",
        entry(start="../adapter"),
        "adapter {folder}/../adapter: there is no such folder; give a folder as 'gapbench "
        "export RUN --out DIR' writes it",
    ),
    Bad(
        "start without a name",
        entry(start=""),
        "{suite}: field 'tasks.0.start': String should have at least 1 character; got ''",
    ),
    # Structure.
    Bad(
        "list for a suite",
        text("[a, b]"),
        "{suite}: expected a mapping of fields, got ['a', 'b']",
    ),
    Bad(
        "word for a suite",
        text("suite"),
        "{suite}: expected a mapping of fields, got 'suite'",
    ),
    Bad(
        "no methods",
        suite(methods=[]),
        "{suite}: field 'methods': Tuple should have at least 1 item after validation, not "
        "0; got []",
    ),
    Bad(
        "methods in words",
        suite(methods="lora"),
        "{suite}: field 'methods': should be a list; got 'lora'",
    ),
    Bad(
        "a method twice",
        suite(methods=["lora", "lora"]),
        "{suite}: give each entry of a method its own 'variant': ['lora/default']",
    ),
    Bad(
        "a task twice",
        suite(tasks=["animals", "animals"]),
        "{suite}: a task may appear in a suite once, got ['animals'] more than once",
    ),
    Bad(
        "unknown field of a task entry",
        entry(seed=3),
        "{suite}: unknown field 'tasks.0.seed'; allowed: backbones, budget, definition, "
        "head, methods, settings, start, task, training",
    ),
    Bad(
        "unknown field of a budget",
        budget(epoch=3),
        "{suite}: unknown field 'budget.epoch'; allowed: batch_size, choosing_members, epochs, "
        "evaluations, steps, train_size (did you mean 'epochs'?)",
    ),
    Bad(
        "unknown budget of a task",
        entry(budget={"epoch": 3}),
        "suite 'small': task 'animals': budget: unknown field 'epoch'; allowed: batch_size,"
        " choosing_members, epochs, evaluations, steps, train_size (did you mean 'epochs'?)",
    ),
    Bad(
        "unknown training of a task",
        entry(training={"rate": 3}),
        "suite 'small': method 'majority' on task 'animals': training: unknown field "
        "'rate'; allowed: learning_rate, max_grad_norm, patience, schedule, "
        "warmup_fraction, weight_decay",
    ),
    Bad(
        "unknown setting of a task",
        entry(settings={"metric": "f1"}),
        "suite 'small': task 'animals': settings: unknown field 'metric'; allowed: "
        "checkpoint_metric, citation, description, group, kind, label, label_range, labels, "
        "licence, max_length, metrics, name, source, splits, text, validation_size, version "
        "(did you mean 'metrics'?)",
    ),
    Bad(
        "method that is not there",
        entry(methods={"dora": {}}),
        "suite 'small' has no method 'dora'; allowed: head, head/default, lora, "
        "lora/default, majority, majority/default (did you mean 'lora'?)",
    ),
    Bad(
        "code by a setting of PEFT",
        method("peft:LORA", config={"settings": {"megatron_core": "os"}}),
        "suite 'small': method 'peft:LORA': config: field 'settings': may not name program "
        "code to import, as 'megatron_core' does; got {'megatron_core': 'os'}",
    ),
    # YAML that is more than it seems.
    Bad(
        "ten thousand lists",
        text("[" * 10_000),
        "{suite}: not valid YAML: nested deeper than 50 levels, line 1",
    ),
    Bad(
        "a billion laughs",
        text(LAUGHS),
        "{suite}: not valid YAML: more than 200,000 values with its aliases written out, line 6",
    ),
    Bad(
        "key that appears twice",
        text("name: small\nseeds: 2\nseeds: 3\n"),
        "{suite}: not valid YAML: 'seeds' appears twice, again in line 3",
    ),
    Bad(
        "alias of itself",
        text("tasks: &a [*a]"),
        "{suite}: not valid YAML: alias 'a' refers to nothing that is complete, line 1",
    ),
    Bad(
        "alias of nothing",
        text("tasks: *a"),
        "{suite}: not valid YAML: alias 'a' refers to nothing that is complete, line 1",
    ),
    Bad(
        "large file",
        text("#" * 1_000_001),
        "{suite}: cannot be read: it is larger than 1,000,000 bytes, the most that is read",
    ),
    Bad(
        "tag that calls",
        text("name: !!python/object/apply:os.getcwd []"),
        "{suite}: not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.getcwd', line 1, column 7",
    ),
    Bad(
        "tag that does not fit",
        text("name: !!bool maybe"),
        "{suite}: not valid YAML: a value does not fit its type: 'maybe'",
    ),
    Bad(
        "date that is none",
        text("name: !!timestamp 2001-99-99"),
        "{suite}: not valid YAML: a value does not fit its type: month must be in 1..12",
    ),
    Bad(
        "control character",
        text("name: a\x07b"),
        "{suite}: not valid YAML: special characters are not allowed at character 7: '\\x07'",
    ),
    Bad(
        "other encoding",
        text("name: gr\u00fcn".encode("latin-1")),
        "{suite}: cannot be read: 'utf-8' codec can't decode byte 0xfc in position 8: "
        "invalid start byte",
    ),
    Bad(
        "folder for a file",
        folder,
        "{suite}: cannot be read: it is no regular file",
    ),
    Bad(
        "pipe for a file",
        pipe,
        "{suite}: cannot be read: it is no regular file",
    ),
    # Task files.
    Bad(
        "version of none",
        task(version=0),
        "{task}: field 'version': Input should be greater than or equal to 1; got 0",
    ),
    Bad(
        "unknown kind",
        task(kind="ranking"),
        "{task}: field 'kind': unknown kind 'ranking'; allowed: choice, classification, "
        "generation, regression, span",
    ),
    Bad(
        "a single class",
        task(labels=["no"]),
        "{task}: field 'labels' must name at least two classes",
    ),
    Bad(
        "no text",
        task(text=[]),
        "{task}: field 'text': Tuple should have at least 1 item after validation, not 0; got []",
    ),
    Bad(
        "three texts",
        task(text=["a", "b", "c"]),
        "{task}: field 'text' may name at most two columns for this kind",
    ),
    Bad(
        "unknown metric",
        task(metrics=["acuracy"]),
        "{task}: field 'metrics': metric: 'acuracy' is unknown; use one of accuracy, f1, "
        "matthews_correlation, pearson, spearman, mse, accuracy_norm, perplexity, "
        "token_accuracy, token_ece, bleu, nist, meteor, rouge_l, cider, ter, chrf, "
        "exact_match, span_f1",
    ),
    Bad(
        "split that climbs",
        task(splits={"train": "../train", "test": "validation"}),
        "{task}: field 'splits.train': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got '../train'",
    ),
    Bad(
        "endless inputs",
        task(max_length=10**9),
        "{task}: field 'max_length': Input should be less than or equal to 1000000; got 1000000000",
    ),
    Bad(
        "repository that is a folder",
        task(source={"hub": "../data", "revision": HASH}),
        "{task}: field 'source.hub.hub': must be the id of a repository, OWNER/NAME; got '../data'",
    ),
    Bad(
        "short revision",
        task(source={"hub": "a/b", "revision": "0123456"}),
        "{task}: field 'source.hub.revision': must be a full commit hash, 40 hex digits;"
        " got '0123456'",
    ),
    Bad(
        "a million million rows",
        task(source={"builtin": "x", "seed": 0, "sizes": {"train": 10**12}}),
        "{task}: field 'source.builtin.sizes.train': Input should be less than or equal to "
        "1000000; got 1000000000000",
    ),
    Bad(
        "two tests",
        task(source={"train": "a.csv", "test": "b.csv", "test_share": 0.2}),
        "{task}: field 'source.train': give exactly one of 'test' and 'test_share'; got "
        "{'test': 'b.csv', 'test_share': 0.2, 'train': 'a.csv'}",
    ),
    Bad(
        "own file that is not there",
        task(source={"train": "a.csv", "test_share": 0.2}),
        "task 'animals': {folder}/tasks/a.csv does not exist; put it back, or correct the "
        "field 'source'",
    ),
    Bad(
        "prompt of a classification",
        task(prompt="{sentence}"),
        "{task}: field 'prompt' belongs to tasks of kind choice or generation",
    ),
    # Flags.
    Bad(
        "hub data offline",
        task(source={"hub": "a/b", "revision": HASH}),
        "task 'animals': its data would come from the hub (a/b), which --offline forbids; "
        "copy it with 'gapbench fetch' where there is a network, and give its folder with "
        "--data DIR",
        ("--offline",),
        data=False,
    ),
    Bad(
        "hub backbone offline",
        suite(backbones=[f"owner/name@{HASH}"]),
        "backbone 'owner/name@0123456789abcdef0123456789abcdef01234567' would come from the"
        " hub (owner/name), which --offline forbids; copy it with 'gapbench fetch' where "
        "there is a network, and give its folder with --backbone DIR",
        ("--offline",),
    ),
    Bad(
        "flag with too many runs",
        as_it_is,
        "suite 'small': field 'seeds': a number of seeds must be at least 1 and at most "
        "100000; got 100001",
        (
            "--seeds",
            "100001",
        ),
    ),
    Bad(
        "flag with an empty backbone",
        as_it_is,
        "suite 'small': field 'backbones.0': String should have at least 1 character; got ''",
        (
            "--backbone",
            "",
        ),
    ),
]
