"""Pushing an exported adapter to the Hugging Face hub, or to the endpoint that HF_ENDPOINT names.

The token is the one that the hub's own client finds (HF_TOKEN, or `hf auth login`). It is neither
read nor stored here. Proxies and HF_HOME are that client's matter too.
"""

from pathlib import Path

from huggingface_hub import HfApi
from pydantic import TypeAdapter, ValidationError

from gapbench.bench.config.task_sources import Repository
from gapbench.bench.core.errors import ConfigError, StoreError


def check(name: str) -> None:
    """Make sure that a repository could be pushed to, before any time is spent.

    Args:
        name: id of the repository.

    Raises:
        ConfigError: if it is no id, or nobody is logged in.
    """
    try:
        TypeAdapter(Repository).validate_python(name)
    except ValidationError:
        raise ConfigError(
            f"--push {name}: give OWNER/NAME, the id of a repository of the hub"
        ) from None
    try:
        HfApi().whoami()
    # The hub's client raises errors of several libraries.
    except Exception as error:
        raise ConfigError(
            f"--push {name}: the hub does not know you: {error}; log in with `hf auth login`, or "
            "set HF_TOKEN to a token that may write"
        ) from None


def push(folder: Path, name: str, *, public: bool) -> str:
    """Upload an adapter folder as one commit, and return its address.

    Args:
        folder: the folder, as `bench.execution.export` writes it.
        name: id of the repository, made where needed.
        public: whether everybody may read a new repository.

    Raises:
        StoreError: if it cannot be uploaded.
    """
    api = HfApi()
    try:
        api.create_repo(name, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="Add an adapter trained by gapbench"
        )
    # See `check`.
    except Exception as error:
        raise StoreError(
            f"{folder} is written but cannot be pushed to {name}: {error}; send it later with: "
            f"hf upload {name} {folder}"
        ) from None
    return str(commit.commit_url)
