"""Tables of families on tiny random models of the installed library: docs/families.md.

Prints a line a cell and writes the page; exits with 1 if a cell is wrong. A quarter of an hour.

    python -m tests.benchmarks.families --page docs/families.md
    python -m tests.benchmarks.families --families gemma2 gpt_oss
"""

import argparse
import re
import sys
import tempfile
import warnings
from pathlib import Path

import transformers

from gapbench.bench.config.head import SEQUENCE_CLASSIFICATION
from gapbench.bench.core.errors import BenchError
from tests.support import tiny_families
from tests.support.family_checks import TASKS, Cell, checked, trained
from tests.support.tiny_families import buildable, families

Table = dict[str, dict[str, Cell]]

METHODS = ["lora", "dora", "adalora", "bitfit", "lora_dropout", "dropkey", "dropattention"]
METHODS += ["hiddencut", "hiddenkey", "bilora", "bidora", "flexora", "full", "head"]


def main() -> int:
    """Fill the table of the families asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--families", nargs="+", help="the library's names; all of them if left out"
    )
    parser.add_argument("--page", type=Path, help="where to write the table")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    wanted = [
        [name for name in group if options.families is None or name in options.families]
        for group in families()
    ]
    absent: dict[str, str] = {}
    decoders, encoders = (_fill(group, absent) for group in wanted)
    known = decoders | encoders
    by_method = _train([name for name, row in known.items() if row["classification"].is_exact])
    for name, reason in absent.items():
        print(f"{name}: not built: {reason}")
    if options.page is not None:
        options.page.write_text(_page(decoders, encoders, by_method, absent), encoding="utf-8")
    cells = [
        str(cell)
        for table in (decoders, encoders, by_method)
        for row in table.values()
        for cell in row.values()
    ]
    wrong = sum(cell.startswith("WRONG") for cell in cells)
    print(f"{len(decoders)} decoders, {len(encoders)} encoders, {wrong} cells wrong")
    return int(wrong > 0)


def _fill(names: list[str], absent: dict[str, str]) -> Table:
    table: Table = {}
    for name in names:
        reason = buildable(name)
        if reason is not None:
            absent[name] = reason
            continue
        table[name] = {}
        for kind in TASKS:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    table[name][kind] = checked(name, kind, Path(folder))
                except Exception as error:  # whatever it is, the cell is not right
                    print(f"{name}: {kind}: WRONG: {type(error).__name__}: {error}"[:300])
                    table[name][kind] = Cell(float("nan"))
            print(f"{name}: {kind}: {table[name][kind]}", flush=True)
    return table


def _train(names: list[str]) -> Table:
    """Train every method for a few steps on families that classify."""
    table: Table = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                backbone = tiny_families.load(name, Path(folder), SEQUENCE_CLASSIFICATION)
            except BenchError as error:
                print(f"{name}: {error}")
                continue
            table[name] = {}
            for method in METHODS:
                try:
                    table[name][method] = trained(backbone, method)
                except Exception as error:
                    print(f"{name}: {method}: WRONG: {type(error).__name__}: {error}"[:300])
                    table[name][method] = Cell(float("nan"))
                print(f"{name}: {method}: {table[name][method]}", flush=True)
    return table


def _page(decoders: Table, encoders: Table, by_method: Table, absent: dict[str, str]) -> str:
    """Return the page, from what was measured."""
    reasons: dict[str, int] = {}
    kinds = list(TASKS)
    lines = [_HEAD.format(version=transformers.__version__)]
    for title, table in (("Decoders", decoders), ("Encoders and encoder-decoders", encoders)):
        exact = sum(cell.is_exact for row in table.values() for cell in row.values())
        lines += [f"## {title}", "", f"{len(table)} families, {exact} exact cells.", ""]
        lines += ["| family | " + " | ".join(kinds) + " |", "| --- " * (len(kinds) + 1) + "|"]
        for name, row in table.items():
            shown = [_shown(row[kind], reasons) for kind in kinds]
            lines.append(f"| `{name}` | " + " | ".join(shown) + " |")
        lines.append("")
    lines += [
        _METHODS.format(count=len(METHODS)),
        "| family | " + " | ".join(f"`{name}`" for name in METHODS) + " |",
    ]
    lines += ["| --- " * (len(METHODS) + 1) + "|"]
    for name, row in by_method.items():
        shown = [_shown(row[method], reasons).replace("exact", "yes") for method in METHODS]
        lines.append(f"| `{name}` | " + " | ".join(shown) + " |")
    lines += ["", "## Reasons", ""]
    lines += [f"{number}. {reason}" for reason, number in reasons.items()]
    lines += ["", "## Not built", ""]
    lines += ["No tiny model is made of these, so nothing is said about them.", ""]
    lines += ["| family | why not |", "| --- | --- |"]
    lines += [f"| `{name}` | {reason} |" for name, reason in absent.items()]
    return "\n".join(lines) + "\n"


def _shown(cell: Cell, reasons: dict[str, int]) -> str:
    told = verdict(cell)
    return told if cell.off is not None else f"no ({reasons.setdefault(told, len(reasons) + 1)})"


def verdict(cell: Cell) -> str:
    """Return what the page says of a cell: ``exact``, or the reason without names."""
    if cell.off is not None:
        return str(cell)
    reason = re.sub(r"\ba [\w-]+ backbone", "the backbone", cell.reason)
    reason = re.sub(r" of \S+ without", " of a layer without", reason)
    reason = re.sub(r", such as \S+, has", " has", reason)
    return re.sub(r" for the family '[\w-]+'|^method '\w+': ", "", reason)


_METHODS = """## Methods

Whether a method with its default settings trains a classifier, on every family that classifies: the
adapted model begins as the plain one, and what the method adds moves (of `head`, the head). These
are {count} of the methods, one or more of each kind; the others share their layers.
"""

_HEAD = """# Model families

Which kinds of task work on which families of backbones. `tests/benchmarks/families.py` makes this
page: it saves a tiny random model of every family of transformers {version}, loads it as a run
does, and compares what several sequences at once give with what the library's own model gives for
each alone.

**exact**: log-probabilities of choices agree within 1e-3 nats, greedy texts token by token, and
outputs of heads within 1e-3 of the largest. **no**: runs are skipped with the reason of that
number. No cell may be wrong. Both sides compute on a processor, at sizes made small and otherwise
at the family's defaults: another checkpoint of a family may compute differently. Therefore every
run makes these comparisons first, on its own backbone ([engine.md](engine.md#scoring)), and is
skipped with the reason where they fail. Texts here have up to 32 tokens. Where a family computes
otherwise beyond some length (windows, other factors of rotary positions), `check` and every run
compare texts on both sides of it, if the task's `max_length` reaches it.

A backbone of several models, such as one that also reads images, is refused, because texts reach
only one of them. Save that one as a backbone of its own:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

name = "google/gemma-3-4b-it"
whole = AutoModelForCausalLM.from_pretrained(name)
text = AutoModelForCausalLM.from_config(whole.config.text_config)
text.model.load_state_dict(whole.model.language_model.state_dict())
text.lm_head.load_state_dict(whole.lm_head.state_dict())
text.save_pretrained("gemma-3-4b-text")
AutoTokenizer.from_pretrained(name).save_pretrained("gemma-3-4b-text")
```

A backbone whose layers take no mask of single tokens scores every choice in a row of its own, which
is exact too, only slower.

## A pretrained decoder

`tests/benchmarks/real_decoder.py` makes the same comparisons on a real model and real rows. Of
SmolLM2-135M-Instruct (4-bit weights read as float32, one CPU):

| what | beside the library's own model |
| --- | --- |
| log-likelihoods of 800 choices, 200 rows of ARC-Easy | at most 3.6e-5 nats apart |
| log-likelihoods of 400 choices, 200 rows of PIQA | at most 7.6e-5 nats apart |
| greedy texts of 20 tokens after 50 prompts of PIQA | 50 as `generate` writes them |
| loss of 64 held-out rows of ARC-Easy, before and after LoRA on 128 rows | 3.364, then 2.712 |

The run of LoRA is one of `gapbench.run`: rank 8, learning rate 1e-3, one epoch in batches of 8, in
float32. Measured on two cores of an AMD EPYC (AVX-512 with bf16, no AMX).
"""


if __name__ == "__main__":
    sys.exit(main())
