"""Where rows and backbones come from: what their content hashes cover."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gapbench.bench.data.digests import BACKBONE_FILES, joint_digest
from gapbench.bench.data.sources import Sources

FILES = ["vocab.txt", "merges.txt", "spm.model", "tokenizer.model", "tekken.json", "bpe.codes"]


@pytest.mark.parametrize("name", [*FILES, "qwen.tiktoken", "source.spm", "entity_vocab.json"])
def test_other_files_of_a_tokenizer_are_another_backbone(
    name: str, tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """What splits a text into tokens decides a result, in whichever file it is."""
    folder = tmp_path / "backbone"
    shutil.copytree(make_backbone("bert"), folder)
    digests = []
    for content in ("a", "b"):
        (folder / name).write_text(content)
        digests.append(Sources().backbone(str(folder)).digest)
    (folder / "README.md").write_text("about it")
    assert digests[0] != digests[1] == Sources().backbone(str(folder)).digest


def test_digest_of_the_usual_files_stays(
    tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """Stored runs name their backbones by it: the known files in their order, then the weights."""
    folder = tmp_path / "backbone"
    shutil.copytree(make_backbone("bert"), folder)
    (folder / "spm.model").write_text("words")
    names = [name for name in BACKBONE_FILES if (folder / name).is_file()]
    expected = joint_digest([folder / name for name in (*names, "model.safetensors")])
    assert Sources().backbone(str(folder)).digest == expected
    assert "spm.model" in names


def test_chat_template_counts_where_it_is_read(
    tmp_path: Path, make_backbone: Callable[[str], Path]
) -> None:
    """Only dialogues are written by it; each identity leads to the folder."""
    folder = tmp_path / "backbone"
    shutil.copytree(make_backbone("bert"), folder)
    sources = Sources()
    before = [sources.backbone(str(folder), templated=templated) for templated in (False, True)]
    assert before[0] == before[1]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    after = [sources.backbone(str(folder), templated=templated) for templated in (False, True)]
    assert before[0] == after[0] != after[1]
    assert Sources().backbone(str(folder)) == after[0]
    assert {sources.locate(each) for each in after} == {str(folder)}
