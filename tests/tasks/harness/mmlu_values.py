"""Makes mmlu.json: log-likelihoods of MMLU's choices by lm-evaluation-harness 0.4.13.

    python tests/tasks/harness/mmlu_values.py SHARED

SHARED holds ``data/mmlu`` and ``models/tinystories-656k``. The package lm_eval is needed for this
alone; the tests read the file. The prompts are those of its own task files.
"""

import json
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

OUT = Path(__file__).with_name("mmlu.json")
POSITIONS = 8192  # the model's own 512 are too few for five examples; its positions are rotary
FORMS = {"mmlu": ("default", "mmlu_{}"), "mmlu_answers": ("continuation", "mmlu_{}_continuation")}
SHOTS = {0: 3, 5: 10}  # every third subject without examples, every tenth with five


def main(shared: Path) -> None:
    """Score the first test row of the subjects in each form, and write the file."""
    torch.set_default_dtype(torch.float64)
    folder = shared / "models" / "tinystories-656k"
    config = AutoConfig.from_pretrained(folder, max_position_embeddings=POSITIONS)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float64)
    lm = HFLM(pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), device="cpu")
    tables = {split: pd.read_parquet(shared / f"data/mmlu/{split}.parquet") for split in FIRST}
    made: dict[str, dict[str, dict[str, Any]]] = {}
    for form, (variant, name) in FORMS.items():
        for shots, step in SHOTS.items():
            own = made[f"{form}/{shots}"] = {}
            for subject in sorted(set(tables["test"]["subject"]))[::step]:
                own[subject] = _scored(lm, tables, variant, name.format(subject), subject, shots)
    content = json.dumps({"positions": POSITIONS, "values": made}, indent=1)
    OUT.write_text(content, encoding="utf-8")


FIRST = {"dev": 5, "test": 1}  # rows that are needed of a subject


def _scored(
    lm: HFLM, tables: dict[str, pd.DataFrame], variant: str, name: str, subject: str, shots: int
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        paths = {}
        for split, rows in FIRST.items():
            table = tables[split][tables[split]["subject"] == subject].head(rows)
            paths[split] = str(Path(scratch) / f"{split}.parquet")
            table[["question", "choices", "answer", "idx"]].to_parquet(paths[split])
        task_file = files("lm_eval") / "tasks" / "mmlu" / variant / f"mmlu_{subject}.yaml"
        config = load_yaml(task_file, resolve_func=True) | {
            "task": name,
            "dataset_path": "parquet",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": paths},
            "num_fewshot": shots,
        }
        task = ConfigurableTask(config=config)
        task.build_all_requests(limit=1, rank=0, world_size=1)
    return {
        "idx": int(task.instances[0].doc["idx"]),
        "log_likelihoods": [value for value, _ in lm.loglikelihood(task.instances)],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
