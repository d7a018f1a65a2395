"""The checks of `tests/benchmarks/real_decoder.py`, on a small pretrained decoder and few rows."""

from pathlib import Path

import pytest
import yaml

from gapbench.bench.config.task_files import load
from tests.benchmarks import real_decoder

COLUMNS = {"label": "label", "choice": {"options": "choices"}}
"""Where the shared rows of ARC-Easy hold what the published ones hold elsewhere."""


def test_scores_texts_and_training_of_a_pretrained_decoder(
    shared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Choices and texts are the library's, and LoRA lowers the loss of held-out rows."""
    task = load("arc_easy").model_dump(mode="json") | COLUMNS
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "arc_easy.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    wanted = {
        "--beside": tmp_path,
        "--data": shared_folder / "data",
        "--backbone": shared_folder / "models" / "tinystories-656k",
        "--rows": 12,
        "--prompts": 4,
        "--train": 64,
        "--validation": 16,
        "--threads": 1,
    }
    given = [str(each) for pair in wanted.items() for each in pair]
    assert real_decoder.main(given) == 0, capsys.readouterr().out
    assert "greedy texts: 4 of 4 as 'generate' writes them" in capsys.readouterr().out
