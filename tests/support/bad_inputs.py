"""What can be wrong with a suite and what it reads, each with what the message must say of it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.small_suite import SmallSuite, rows


@dataclass(frozen=True)
class Case:
    """Something wrong, and what the message must say of it: place, given, allowed or way out."""

    name: str
    spoil: Callable[[SmallSuite], object]
    says: tuple[str, ...]
    flags: tuple[str, ...] = ()


def suite(**changes: Any) -> Callable[[SmallSuite], None]:
    """Write other fields into the suite file."""
    return lambda small: small.write_suite(**changes)


def lora(**config: Any) -> Callable[[SmallSuite], None]:
    """Make lora with a config the only method."""
    return suite(methods=[{"method": "lora", "config": config}])


def train(**columns: Any) -> Callable[[SmallSuite], None]:
    """Replace columns of the train split."""
    return lambda small: small.write_rows("train", rows("train") | columns)


def spoilt(column: str, row: int, value: Any) -> Callable[[SmallSuite], None]:
    """Replace one value of the train split."""
    values = rows("train")[column]
    return train(**{column: [*values[:row], value, *values[row + 1 :]]})


def backbone(change: Callable[[Path], object]) -> Callable[[SmallSuite], None]:
    """Use a copy of the backbone folder with something done to it."""

    def spoil(small: SmallSuite) -> None:
        folder = small.folder / "spoilt"
        shutil.copytree(small.backbone, folder)
        change(folder)
        small.write_suite(backbones=[str(folder)])

    return spoil


def only_pickle(folder: Path) -> None:
    """Leave weights that could run code on loading."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def only_gguf(folder: Path) -> None:
    """Leave the first bytes of a file as llama.cpp keeps models."""
    for path in folder.iterdir():
        path.unlink()
    (folder / "model-Q4_0.gguf").write_bytes(b"GGUF")


def cut(name: str, size: int) -> Callable[[Path], object]:
    """Keep the first bytes of a file."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def without(name: str) -> Callable[[Path], object]:
    """Remove a file."""
    return lambda folder: (folder / name).unlink()


# Refused by `check`, `plan` and `run` alike, before anything is stored.
SUITE_CASES = [
    Case("no suite", lambda small: small.path.unlink(), ("small.yaml: cannot be read: No such",)),
    Case(
        "broken yaml",
        lambda small: small.path.write_text("tasks: [a,"),
        ("small.yaml: not valid YAML", "line 1"),
    ),
    Case(
        "empty yaml",
        lambda small: small.path.write_text(""),
        ("small.yaml: expected a mapping of fields, got None",),
    ),
    Case(
        "unknown task",
        suite(tasks=["animal"]),
        ("unknown task 'animal'; allowed: ", "syn_sentiment", "(did you mean 'animals'?)"),
    ),
    Case(
        "unknown method",
        suite(methods=["lorra"]),
        ("unknown method 'lorra'; allowed: ", "head", "(did you mean 'lora'?)"),
    ),
    Case(
        "unknown PEFT type",
        suite(methods=["peft:NOPE"]),
        ("method 'peft:NOPE': give PEFT's type after a colon", "'peft:LORA'", "allowed: ", "IA3"),
    ),
    Case("no PEFT type", suite(methods=["peft"]), ("method 'peft': give PEFT's type", "allowed: ")),
    Case(
        "argument of a plain method",
        suite(methods=["lora:LORA"]),
        ("method 'lora' takes no argument in its name, got 'lora:LORA'",),
    ),
    Case(
        "unknown key",
        suite(budgett=3),
        ("small.yaml: unknown field 'budgett'; allowed: ", "(did you mean 'budget'?)"),
    ),
    Case(
        "unknown setting",
        lora(rnk=2),
        ("suite 'small': method 'lora': config: unknown field 'rnk'", "(did you mean 'rank'?)"),
    ),
    Case(
        "rate of one",
        lora(dropout=1.0),
        ("method 'lora': config: field 'dropout': ", "less than 1; got 1.0"),
    ),
    Case(
        "negative rate",
        lora(dropout=-0.1),
        ("field 'dropout': ", "greater than or equal to 0; got -0.1"),
    ),
    Case(
        "backbone rate of one",
        suite(backbone_dropout=1),
        ("small.yaml: field 'backbone_dropout': ", "less than 1; got 1"),
    ),
    Case("rank of zero", lora(rank=0), ("field 'rank': ", "greater than or equal to 1; got 0")),
    Case("text for a number", lora(rank="two"), ("field 'rank': ", "integer", "got 'two'")),
    Case("infinite setting", lora(alpha=float("inf")), ("field 'alpha': ", "finite", "got inf")),
    Case(
        "task file with a wrong value",
        lambda small: small.write_task(max_length=0),
        ("animals.yaml: field 'max_length': ", "greater than or equal to 4; got 0"),
    ),
    Case(
        "task file with another name",
        lambda small: small.write_task(name="plants"),
        ("animals.yaml: field 'name' must equal the file name, got 'plants'",),
    ),
    Case(
        "metric of another kind",
        lambda small: small.write_task(metrics=["pearson"]),
        ("animals.yaml", "metric 'pearson' does not score classification"),
    ),
    Case(
        "missing split",
        lambda small: (small.data / "animals" / "validation.parquet").unlink(),
        ("task 'animals'", "validation.parquet does not exist; put the split 'validation' there"),
    ),
    Case(
        "no data folder",
        lambda _: None,
        ("no-data/animals/train.parquet does not exist",),
        ("--data", "no-data"),
    ),
    Case(
        "backbone that is nothing",
        suite(backbones=["tiny-encodr"]),
        ("backbone 'tiny-encodr' is neither built in (", "nor an existing folder", "@<commit"),
    ),
    Case(
        "hub id without revision",
        suite(backbones=["google/bert"]),
        ("backbone 'google/bert'", "a pinned revision such as 'owner/name@<commit hash>'"),
    ),
    Case(
        "backbone without config",
        backbone(without("config.json")),
        ("spoilt: no config.json", "save_pretrained"),
    ),
    Case(
        "backbone without weights",
        backbone(without("model.safetensors")),
        ("spoilt: weights must be safetensors, found none; convert them with save_pretrained",),
    ),
    Case(
        "backbone with a pickle only",
        backbone(only_pickle),
        ("weights must be safetensors, found only pytorch_model.bin, which could run code",),
    ),
    Case(
        "backbone in a broken GGUF file",
        backbone(only_gguf),
        ("spoilt/model-Q4_0.gguf: cannot be read as GGUF: error: unpack_from requires",),
    ),
    Case(
        "flag with an unknown method",
        lambda _: None,
        ("suite 'small' has no method 'loar'; allowed: ", "(did you mean 'lora'?)"),
        ("--methods", "loar"),
    ),
    Case(
        "flag with an unknown task",
        lambda _: None,
        ("suite 'small' has no task 'animal'; allowed: animals",),
        ("--tasks", "animal"),
    ),
]

# Found only by reading rows or weights: `check` refuses them, in `run` the runs fail.
CONTENT_CASES = [
    Case(
        "missing column",
        lambda small: small.write_rows("train", {"text": ["a"], "label": [0]}),
        (
            "task 'animals', split 'train': no column 'sentence'; columns present: text, label",
            "rename one",
        ),
    ),
    Case(
        "missing label",
        lambda small: small.write_rows("train", {"sentence": ["a"]}),
        ("split 'train': no column 'label'; columns present: sentence",),
    ),
    Case(
        "empty split",
        lambda small: small.write_rows("validation", {"sentence": [], "label": []}),
        ("task 'animals', split 'validation': the split is empty; give at least one row",),
    ),
    Case(
        "label out of range",
        spoilt("label", 3, 2),
        (
            "split 'train', row 3: column 'label' holds 2, allowed: ",
            "whole numbers 0 to 1 (no, yes)",
        ),
    ),
    Case(
        "hidden label",
        spoilt("label", 5, -1),
        ("row 5: column 'label' holds -1", "without public labels cannot be scored"),
    ),
    Case(
        "missing label value",
        spoilt("label", 0, None),
        ("row 0: column 'label' holds None, allowed: whole numbers 0 to 1",),
    ),
    Case(
        "broken label",
        train(label=[0.5] * 40),
        ("row 0: column 'label' holds 0.5, allowed: whole numbers 0 to 1",),
    ),
    Case(
        "numbers for text",
        train(sentence=list(range(40))),
        ("split 'train', row 0: column 'sentence' holds 0, expected text",),
    ),
    Case(
        "missing text",
        spoilt("sentence", 7, None),
        ("split 'train', row 7: column 'sentence' holds None, expected text",),
    ),
    Case(
        "file that is no parquet",
        lambda small: (small.data / "animals" / "train.parquet").write_text("sentence,label"),
        ("task 'animals'", "train.parquet is not a readable parquet file"),
    ),
    Case(
        "too few rows",
        lambda small: small.write_task(validation_size=40),
        ("field 'validation_size' is 40, but the train split has only 40 examples; make it",),
    ),
    Case(
        "unknown target",
        lora(targets=["quary"]),
        ("target 'quary' matches no layer; allowed: ", "(did you mean 'query'?)"),
    ),
    Case(
        "config that is no json",
        backbone(cut("config.json", 5)),
        ("spoilt", "cannot be loaded", "valid JSON"),
    ),
    Case(
        "truncated weights",
        backbone(cut("model.safetensors", 1000)),
        ("spoilt", "cannot be loaded", "header"),
    ),
    Case(
        "unknown architecture",
        backbone(lambda folder: (folder / "config.json").write_text('{"model_type": "nope"}')),
        ("spoilt", "cannot be loaded", "`nope`"),
    ),
    Case(
        "no tokenizer",
        backbone(without("tokenizer.json")),
        ("spoilt", "has no vocabulary", "put the tokenizer that it was trained with"),
    ),
    Case(
        "tokenizer that is no json",
        backbone(cut("tokenizer.json", 5)),
        ("spoilt", "has a tokenizer that cannot be loaded from tokenizer.json: "),
    ),
]
