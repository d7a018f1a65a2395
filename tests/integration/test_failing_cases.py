"""Cases of `../shared/cases`: what users reported of checkpoints, and what `check` answers now."""

from pathlib import Path

import pytest

from tests.support.small_suite import call

CASES = Path(__file__).parents[3] / "shared" / "cases"
EMPTY = "2 of 40 texts have no tokens, the first in row 0"
REFUSED = [
    ("04", "a.yaml", "bert-drop", "lacks bert.encoder.layer.1.attention.self.query.bias"),
    ("04", "a.yaml", "d-llama-drop", "lacks model.layers.1.self_attn.q_proj.weight"),
    ("04", "a.yaml", "bert-ddp", "begin with 'module.'"),
    ("07", "short/e.yaml", "d-gpt2", EMPTY),
    ("07", "long/e.yaml", "d-gpt2", EMPTY),
    ("08", "a.yaml", "d-gpt2-pad", "its padding token '[PAD]' has the id 500"),
    ("08", "a.yaml", "d-gpt2-added", "the token 'movie' has the id 501"),
    ("08", "p.yaml", "roberta-tt", "the segments 0 to 1, but the backbone has 1"),
    ("08", "a.yaml", "bert-ddp", "begin with 'module.'"),
    ("01", "ch.yaml", "../04-missing-weights-become-head/d-llama-nohead", "lacks lm_head.weight"),
]
VALID = [
    ("04", "a.yaml", "bert"),
    ("05", "a.yaml", "bart-cls2"),
    ("05", "a.yaml", "bert-cls2"),
    ("05", "a.yaml", "t5-cls2"),
    ("08", "long.yaml", "camembert-nolen"),
    ("08", "long.yaml", "mpnet-nolen"),
    ("09", "a.yaml", "xlnet"),
    ("10", "a.yaml", "bert-cls3"),
    ("10", "a.yaml", "modernbert"),
    ("13", "eos.yaml", "bart"),
    ("13", "eos.yaml", "t5"),
]
Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is absent")


def paths(number: str, suite: str, backbone: str) -> tuple[Path, Path]:
    """Return the paths of a case's suite and backbone."""
    (folder,) = CASES.glob(f"{number}-*")
    return folder / suite, (folder / backbone).resolve()


@pytest.mark.parametrize(("number", "suite", "backbone", "message"), REFUSED)
def test_check_refuses(
    number: str, suite: str, backbone: str, message: str, capsys: Capture
) -> None:
    """What is wrong is named before anything runs."""
    path, folder = paths(number, suite, backbone)
    answer = call(capsys, "check", path, "--backbone", folder)
    assert answer.code == 2
    assert message in answer.err


@pytest.mark.parametrize(("number", "suite", "backbone"), VALID)
def test_check_and_run_agree(
    number: str, suite: str, backbone: str, tmp_path: Path, capsys: Capture
) -> None:
    """What `check` calls valid runs to the end."""
    path, folder = paths(number, suite, backbone)
    assert call(capsys, "check", path, "--backbone", folder).code == 0
    given = ("--backbone", folder, "--workers", 1, "--results", tmp_path)
    assert call(capsys, "run", path, *given).code == 0
