"""The configuration and tokenizer of a GGUF file, as a folder that the model library reads fast.

The library takes many seconds for the vocabulary of a GGUF file each time. So both are read once,
and kept among the derived files; the weights are read from the file itself.
"""

import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import transformers
from tqdm import tqdm

from gapbench.bench.core.files import lock
from gapbench.bench.data.digests import cache_folder, file_digest


def described(path: Path) -> Path:
    """Return the folder with a file's configuration and tokenizer; it is made once.

    Raises:
        Exception: whatever the model library raises of a file that it cannot read.
    """
    folder = cache_folder() / "gguf" / f"{file_digest(path)[:16]}-{transformers.__version__}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with lock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _describe(path, folder)
    return folder


def weights(path: Path) -> dict[str, Any]:
    """Return what the model library needs to read a file's weights as floats.

    Without the request it keeps them packed where it finds kernels for them, and computes other
    numbers there.
    """
    _draw_no_bar()
    return {
        "pretrained_model_name_or_path": str(path.parent),
        "gguf_file": path.name,
        "quantization_config": transformers.GgufConfig(dequantize=True),
    }


def _describe(path: Path, folder: Path) -> None:
    """Read a file where no other file can be taken for a part of it, and save what it says."""
    _draw_no_bar()
    with TemporaryDirectory(dir=folder.parent) as temporary:
        alone, made = Path(temporary) / "alone", Path(temporary) / "made"
        alone.mkdir()
        (alone / path.name).symlink_to(path.resolve())
        for each in (transformers.AutoConfig, transformers.AutoTokenizer):
            each.from_pretrained(alone, gguf_file=path.name).save_pretrained(made)
        shutil.move(made, folder)


def _draw_no_bar() -> None:
    """Silence the library's bar, which it draws whatever its settings of progress bars say."""
    from transformers import modeling_gguf_pytorch_utils  # slow, and few backbones need it

    modeling_gguf_pytorch_utils.tqdm = partial(tqdm, disable=True)
