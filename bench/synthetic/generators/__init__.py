"""Tasks generated from the built-in grammar, whose truth is known for every example.

Each task draws its inputs from the grammar, computes the exact distribution of the label given the
input, and draws the label from it. The best possible score and the perfectly calibrated prediction
are therefore known. The code needs numpy only; nothing here trains or tokenises.

| task | input | label | truth |
| --- | --- | --- | --- |
| `syn_acceptability` | `sentence` | 1 if in the grammar | flipped at `LABEL_NOISE` |
| `syn_entailment` | `premise`, `hypothesis` | 0 if entailed | flipped at `LABEL_NOISE` |
| `syn_sentiment` | `sentence` | 1 if kind | logistic in the summed valence of the opinions |
| `syn_similarity` | `sentence1`, `sentence2` | 0 to 5 | clipped normal around the shared meaning |
| `syn_choice` | `prompt`, `choices` | which retells | softmax in similarity to the prompt |
| `syn_data2text` | `record` | `references`, 2 to 5 sentences | every one tells the record exactly |

No sentence, record or choice is in two splits, for any sizes and seeds: the hash of a text sets
the only split that may use it (`room`). A fourth room is reserved for pretraining, so a backbone
made by `bench.synthetic.pretrain` has seen no text of any task.
"""

from __future__ import annotations

from collections.abc import Mapping

from gapbench.bench.core.errors import ConfigError
from gapbench.bench.synthetic.generators.choice import ChoiceGenerator
from gapbench.bench.synthetic.generators.corruption import corrupt
from gapbench.bench.synthetic.generators.data2text import Data2TextTask
from gapbench.bench.synthetic.generators.labelled import (
    LABEL_NOISE,
    LABELLED,
    SIMILARITY_RANGE,
    clipped_mean,
)
from gapbench.bench.synthetic.generators.splits import (
    ROOMS,
    Split,
    SyntheticSplit,
    SyntheticTask,
    best_possible,
    room,
)
from gapbench.bench.synthetic.language.sampling import Draws

__all__ = [
    "LABEL_NOISE",
    "SIMILARITY_RANGE",
    "TASKS",
    "Split",
    "SyntheticSplit",
    "SyntheticTask",
    "best_possible",
    "clipped_mean",
    "corrupt",
    "generate",
    "room",
]

TASKS: Mapping[str, SyntheticTask] = {
    **LABELLED,
    "syn_data2text": Data2TextTask(),
    "syn_choice": ChoiceGenerator(),
}
"""Every generated task by name."""


def generate(task: str, split: Split, n: int, seed: int) -> SyntheticSplit:
    """Generate the first `n` examples of a split; inputs are distinct.

    Inputs and labels come from two streams of draws, so a longer split begins with the shorter one.

    Args:
        task: A key of `TASKS`.
        split: `train`, `validation` or `test`.
        n: Number of examples, above 0.
        seed: Any integer; the same seed gives the same examples on every machine.

    Raises:
        ConfigError: On an unknown task or split, or `n` below 1.
    """
    if task not in TASKS:
        raise ConfigError(f"task: no generated task is named {task!r}; choose from {list(TASKS)}")
    if split not in ROOMS[1:]:
        raise ConfigError(f"split: given {split!r}; choose from {list(ROOMS[1:])}")
    if n < 1:
        raise ConfigError(f"n: given {n}; a split needs at least one example")
    inputs, labels = (
        Draws("gapbench synthetic", task, split, seed, stream) for stream in ("inputs", "labels")
    )
    return TASKS[task].build(split, n, inputs, labels)
