"""The manifest of a folder that `gapbench fetch` filled, for detecting changed files.

The folder holds ``data/<task>/<split>.parquet``, ``backbones/<name>/...`` and this list.
`bench.experiment.mirror` fills it; `bench.data.sources` checks files against it when they are used.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from gapbench.bench.core.errors import StoreError
from gapbench.bench.core.files import write_text
from gapbench.bench.core.safe_parsing import parse_json
from gapbench.bench.core.schema import FrozenModel

NAME = "manifest.json"

Part = Literal["data", "backbones"]
Inside = Annotated[str, Field(pattern=r"^(data|backbones)(/[^/\\\x00]+){2}$")]
"""Path of a file in the folder: its part, its item and its own name."""


class File(FrozenModel):
    """One file as fetched."""

    sha256: str
    bytes: int


class Item(FrozenModel):
    """The data of a task, or a backbone.

    Attributes:
        source: repository, configuration and revision; or the hash of local files.
        files: files by their path in the folder.
        complete: False while files may be missing.
    """

    part: Part
    name: Annotated[str, Field(pattern=r"^[^/\\\x00]+$")]
    source: dict[str, str | None]
    files: dict[Inside, File] = Field(default_factory=dict)
    complete: bool = False

    @model_validator(mode="after")
    def _stay_inside(self) -> Self:
        if any({".", ".."} & set(path.split("/")) for path in (self.folder, *self.files)):
            raise ValueError(f"{self.folder}: a path leads out of the folder")
        return self

    @property
    def folder(self) -> str:
        """Path of its files under the folder of the manifest."""
        return f"{self.part}/{self.name}"


class Manifest(FrozenModel):
    """Everything that was fetched into a folder, by its `Item.folder`."""

    format: Literal[1] = 1
    gapbench: str
    items: dict[str, Item] = Field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / NAME, f"{self.model_dump_json(indent=1)}\n")


def load(folder: Path) -> Manifest | None:
    """Return the manifest of a folder, None if it has none from gapbench.

    Raises:
        StoreError: if it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "gapbench" not in content:
            return None
        return Manifest.model_validate(content)
    except (OSError, ValueError, ValidationError) as error:
        raise StoreError(
            f"{path} is not a readable manifest: {error}; fetch into another folder, or remove "
            "the manifest to use the files unchecked"
        ) from None


def item_of(path: Path) -> Item | None:
    """Return the item that a file in ``<folder>/<part>/<name>/`` belongs to, None if in none."""
    folder = path.absolute().parent
    manifest = load(folder.parents[1]) if len(folder.parents) > 1 else None
    return manifest.items.get(f"{folder.parent.name}/{folder.name}") if manifest else None
