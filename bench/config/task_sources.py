"""Where a task's rows come from: the hub, a generator of this package, or files.

`bench.data.sources` finds these places, and `bench.data.rows` reads them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from gapbench.bench.core.schema import FrozenModel, PathStr, matching

Repository = Annotated[
    str,
    Field(max_length=200),
    matching(
        r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", "must be the id of a repository, OWNER/NAME"
    ),
]
Commit = Annotated[str, matching(r"[0-9a-f]{40}", "must be a full commit hash, 40 hex digits")]


class HubSource(FrozenModel):
    """A data set of the Hugging Face hub at a pinned revision."""

    hub: Repository = Field(description="repository id, such as nyu-mll/glue")
    config: str | None = Field(default=None, description="configuration name inside the repository")
    revision: Commit = Field(description="full commit hash")


class BuiltinSource(FrozenModel):
    """A built-in task, generated from a seed, with known true probabilities."""

    builtin: str = Field(description="name in gapbench.bench.synthetic.generators")
    seed: int = Field(ge=0, description="seed of the generated rows")
    sizes: dict[Literal["train", "validation", "test"], Annotated[int, Field(ge=1, le=1_000_000)]]


class FileSource(FrozenModel):
    """Rows that exist only as files under the data folder given with ``--data``."""

    files: Literal["parquet"]


class OwnSource(FrozenModel):
    """Files of the user's own; their suffix tells the format (see `bench.data.readers`)."""

    train: PathStr | None = Field(
        default=None, description="path, relative to the task file; None: the task is only scored"
    )
    test: PathStr | None = Field(
        default=None, description="path, as for train; None: cut from the train file"
    )
    test_share: float | None = Field(
        default=None, gt=0, lt=1, description="share of the train file cut as test, without 'test'"
    )

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if (self.test is None) == (self.test_share is None):
            raise ValueError("give exactly one of 'test' and 'test_share'")
        if self.train is None and self.test is None:
            raise ValueError("field 'test_share' needs the file 'train' to cut it from")
        return self

    def beside(self, folder: Path) -> Self:
        """Return the same source with paths that do not depend on the place of the task file."""
        paths = {"train": self.train, "test": self.test}
        made = {name: str((folder / path).resolve()) for name, path in paths.items() if path}
        return self.model_copy(update=made)


def _kind_of_source(source: object) -> str | None:
    """Return the field that determines the kind of a source."""
    for name in ("hub", "builtin", "files", "train", "test"):
        if name in source if isinstance(source, Mapping) else hasattr(source, name):
            return "train" if name == "test" else name
    return None


Source = Annotated[
    Annotated[HubSource, Tag("hub")]
    | Annotated[BuiltinSource, Tag("builtin")]
    | Annotated[FileSource, Tag("files")]
    | Annotated[OwnSource, Tag("train")],
    Discriminator(
        _kind_of_source,
        custom_error_type="source",
        custom_error_message="give one of 'hub', 'builtin', 'files', 'train' and 'test'",
    ),
]
"""Where a task's rows come from."""
