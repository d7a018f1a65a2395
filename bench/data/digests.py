"""Hashes of the content of data, backbones and adapters, which name them in a run's identity."""

import hashlib
import json
import os
from pathlib import Path

from gapbench.bench.config.task_sources import OwnSource
from gapbench.bench.core.errors import BackboneError, DataError
from gapbench.bench.core.safe_parsing import parse_json, read_text
from gapbench.bench.core.schema import content_hash
from gapbench.bench.data import gguf_file, manifest

BACKBONE_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    # Files of tokenizers without a tokenizer.json, by the library's names.
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
"""Files that, besides the weights, decide how a backbone reads a text.

The digest covers those of `VOCABULARIES` too, after these.
"""
VOCABULARIES = (
    "tokenizer.json",
    "*vocab*.json",
    "*vocab*.txt",
    "*.model",
    "*.spm",
    "merges.txt",
    "bpe.codes",
    "*.tokenizer",
    "*.tiktoken",
    "tekken.json",
)
"""Patterns of the files that tokenizers keep their words in, by the model library's names."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def cache_folder() -> Path:
    """Return the folder for derived files: ``$GAPBENCH_CACHE`` or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gapbench"
    return Path(os.environ.get("GAPBENCH_CACHE", default))


def backbone_digest(folder: Path, packed: Path | None, *further: str) -> str:
    """Return the hash of everything that determines a backbone's numbers.

    Args:
        folder: where its files are.
        packed: its GGUF file, which stands alone; None if there is none.
        further: names of files of the folder that count too.

    Raises:
        BackboneError: if it is no backbone, or not what was fetched.
    """
    config = folder / "config.json"
    if packed is not None:
        gguf_file.require_readable(packed)
    elif not config.is_file():
        raise BackboneError(
            f"backbone {folder}: no config.json; give a folder as the model library "
            "saves it (save_pretrained)"
        )
    if (folder / ADAPTER_CONFIG).exists():
        raise BackboneError(
            f"backbone {folder}: holds an adapter too ({ADAPTER_CONFIG}), which would change its "
            "weights; move it elsewhere, or let runs begin from it by the field 'start'"
        )
    weights = sorted(folder.glob("*.safetensors")) if packed is None else [packed]
    for path in weights if packed is not None else (config, *weights):
        if (cause := spoilt(path)) is not None:
            raise BackboneError(f"backbone {folder.name!r}: {cause}")
    if not weights:
        pickles = [
            path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)
        ]
        found = f"only {', '.join(pickles)}, which could run code on loading" if pickles else "none"
        raise BackboneError(
            f"backbone {folder}: weights must be safetensors, found {found}; convert "
            "them with save_pretrained(safe_serialization=True)"
        )
    names = () if packed is not None else (*BACKBONE_FILES, *further, *vocabulary_files(folder))
    if packed is None and _is_encoder_decoder(config):
        names = (*names, "generation_config.json")  # what its decoder begins with
    present = [folder / name for name in dict.fromkeys(names) if (folder / name).is_file()]
    return joint_digest(present + weights)


def _is_encoder_decoder(config: Path) -> bool:
    try:
        content = parse_json(read_text(config))
    except ValueError:  # its cause is told where the model is loaded
        return False
    return isinstance(content, dict) and bool(content.get("is_encoder_decoder"))


def vocabulary_files(folder: Path) -> list[str]:
    """Return the names of a backbone's vocabulary files."""
    return sorted({path.name for pattern in VOCABULARIES for path in folder.glob(pattern)})


def adapter_digest(folder: Path) -> str:
    """Return the hash of an adapter's configuration and weights.

    Raises:
        BackboneError: if the folder or one of the two files is not there.
    """
    way_out = "give a folder as 'gapbench export RUN --out DIR' writes it"
    if not folder.is_dir():
        raise BackboneError(f"adapter {folder}: there is no such folder; {way_out}")
    paths = [folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS]
    for path in paths:
        if path.is_file():
            continue
        pickle = path.with_suffix(".bin")
        found = f"only {pickle.name}, which could run code on loading" if pickle.is_file() else ""
        raise BackboneError(f"adapter {folder}: no {path.name}{found and ', ' + found}; {way_out}")
    return joint_digest(paths)


def own_digest(task: str, source: OwnSource) -> str:
    """Return the hash of the content of a task's own files, independent of their paths and names.

    Raises:
        DataError: if one of them does not exist.
    """
    paths = [Path(path) for path in (source.train, source.test) if path]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"task {task!r}: {path} does not exist; put it back, or correct the field 'source'"
            )
    return content_hash([file_digest(path) for path in paths])[:16]


def spoilt(path: Path) -> str | None:
    """Return how a file differs from what `gapbench fetch` put there, None if it does not."""
    item = manifest.item_of(path)
    if item is None:
        return None
    again = "fetch the suite again into the same folder"
    if not item.complete:
        return f"{path.parent} was not fetched completely; {again}"
    known = item.files.get(f"{item.folder}/{path.name}")
    if known is not None and file_digest(path) == known.sha256:
        return None
    how = "has changed since it was fetched" if known else "is not what was fetched"
    return f"{path} {how}; {again}, or remove {manifest.NAME} to use it unchecked"


def joint_digest(paths: list[Path]) -> str:
    """Return the hash of the names and content of files."""
    return content_hash([[path.name, file_digest(path)] for path in paths])[:16]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, cached by path, size and all change times of the system.

    Backbones can be many gigabytes, and planning must not read them again every time. The
    modification time can be set to any value, for example by an archive; the inode's cannot.
    """
    stat = path.stat()
    changed = [stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    key = content_hash([str(path.resolve()), stat.st_size, changed])
    memo = cache_folder() / "digests" / f"{key}.json"
    try:
        return str(parse_json(memo.read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        memo.write_text(json.dumps({"sha256": digest}))
    except OSError:
        pass  # the cache only saves time
    return digest
