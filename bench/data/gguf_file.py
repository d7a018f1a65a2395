"""Backbones in GGUF, the format of llama.cpp: configuration, tokenizer and weights in one file.

The model library reads some architectures and unpacks their weights into floats, so that a file
computes the same on every computer. Its reader passes over what it does not know; a file is refused
where that would change the numbers.
"""

import re
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

from gapbench.bench.core.errors import BackboneError
from gapbench.bench.core.extras import needs_extra

SUFFIX = ".gguf"
_PART = re.compile(r"-\d{5}-of-\d{5}")  # as llama.cpp names the parts of a file that it splits
_UNPACKED_BYTES = 4
_HEAD = "output."  # the language model's head, which other tasks leave out
_IN_LAYERS = ("blk.", "enc.", "dec.", "token_embd", "output")
_NO_MODELS = {"general", "tokenizer"}  # in the library's list too
_WAY_OUT = "give the checkpoint that it was made from, in safetensors"


def is_gguf(path: Path) -> bool:
    """Return whether a path is a GGUF file by its name."""
    return path.suffix == SUFFIX and path.is_file()


def only_file(folder: Path) -> Path | None:
    """Return the GGUF file of a folder without safetensors, None if the folder is another kind.

    Raises:
        BackboneError: if there are several.
    """
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if not found or any(folder.glob("*.safetensors")):
        return None
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise BackboneError(
            f"backbone {folder}: has {len(found)} GGUF files ({names}); give one of them, such as "
            f"--backbone {found[0]}"
        )
    return found[0]


def require_readable(path: Path) -> None:
    """Refuse a file that the model library cannot read, or would read as another model.

    Raises:
        ConfigError: if the packages that read it are not installed.
        BackboneError: in all other cases.
    """
    place = f"backbone {path}"
    if _PART.search(path.stem):
        raise BackboneError(
            f"{place}: is one part of a split file; join them with llama.cpp's "
            "'llama-gguf-split --merge', and give the whole"
        )
    metadata = _metadata(path)
    architecture = str(metadata["general.architecture"])
    known = _architectures()
    if _plain(architecture) not in map(_plain, known):
        raise BackboneError(
            f"{place}: the model library does not read the architecture {architecture!r} from "
            f"GGUF, only {', '.join(known)}; {_WAY_OUT}"
        )
    scaling = str(metadata.get(f"{architecture}.rope.scaling.type", "none"))
    if scaling != "none":
        raise BackboneError(
            f"{place}: the model library does not read how its positions are scaled "
            f"({architecture}.rope.scaling.type is {scaling!r}), so it would compute another "
            f"model; {_WAY_OUT}"
        )
    with needs_extra(place, "gguf"):
        import accelerate  # noqa: F401 - the library asks for it
        import gguf  # noqa: F401 - the library's reader


def hidden_size(path: Path) -> int | None:
    """Return the hidden size that a file states, None if it states none."""
    metadata = _metadata(path)
    size = metadata.get(f"{metadata['general.architecture']}.embedding_length")
    return size if isinstance(size, int) else None


def unpacked_bytes(path: Path) -> int:
    """Return the size of a file's weights in float32."""
    return _UNPACKED_BYTES * _numbers(_tensors(path))


def require_all_read(path: Path, read: int) -> None:
    """Refuse a file of which a model without its head has not taken every number.

    Args:
        path: the file.
        read: count of the model's numbers.

    Raises:
        BackboneError: naming the tensors that belong to no layer.
    """
    tensors = [tensor for tensor in _tensors(path) if not tensor.name.startswith(_HEAD)]
    held = _numbers(tensors)
    if held != read:
        others = [each.name for each in tensors if not each.name.startswith(_IN_LAYERS)]
        among = f" (among them may be {', '.join(others)})" if others else ""
        raise BackboneError(
            f"backbone {path}: holds {held} numbers, but the model that the library makes of it "
            f"has {read}, so some of its tensors{among} would be left out; {_WAY_OUT}"
        )


def _numbers(tensors: Iterable[Any]) -> int:
    return sum(prod(tensor.shape) for tensor in tensors)


def _metadata(path: Path) -> dict[str, Any]:
    from transformers.integrations.gguf import read_gguf_metadata

    try:
        metadata: dict[str, Any] = read_gguf_metadata(str(path))[0]
    except Exception as error:  # the file may hold anything
        raise _unreadable(path, error) from None
    return metadata


def _tensors(path: Path) -> Iterable[Any]:
    from transformers.integrations.gguf import GgufHeader

    try:
        return tuple(GgufHeader.from_file(str(path)).tensors)
    except Exception as error:  # likewise
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> BackboneError:
    kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
    return BackboneError(f"backbone {path}: cannot be read as GGUF: {kind}{error}")


def _architectures() -> list[str]:
    """Return the architectures that the library reads, by its own names."""
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    return sorted({*GGUF_CONFIG_ARCHS, *GGUF_SUPPORTED_ARCHITECTURES} - _NO_MODELS)


def _plain(architecture: str) -> str:
    """Return a name without the marks in which the library's and llama.cpp's differ."""
    return re.sub(r"[-_]", "", architecture)
