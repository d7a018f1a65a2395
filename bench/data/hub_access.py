"""What to do when the Hugging Face hub stays silent, or keeps a repository for some."""

from typing import Literal

WAY_OUT = (
    "ask for access on its page of the hub, then log in with `hf auth login` or set HF_TOKEN to a "
    "token of the account that has access"
)


def explained(error: BaseException, otherwise: str = "") -> str:
    """Return an error of the hub's client with what to do, as the end of a message.

    Args:
        error: what a library raised that uses the client.
        otherwise: the answer for a repository that is not gated.
    """
    if _is_gated(error):
        return f"{str(error).rstrip('. ')}; {WAY_OUT}"
    return f"{error}{otherwise}"


def refuse_silence(repository: str, revision: str, kind: Literal["dataset", "model"]) -> None:
    """Ask the hub for a repository, and give up where nothing comes back.

    Its client would try again for many minutes. Whatever else is wrong, the client says itself.

    Raises:
        OSError: if there is no answer within the client's own limit.
    """
    from huggingface_hub import HfApi, constants

    limit = constants.HF_HUB_ETAG_TIMEOUT
    try:
        HfApi().repo_info(repository, revision=revision, repo_type=kind, timeout=limit)
    except Exception as error:  # of whichever HTTP library the client uses
        if "Timeout" in type(error).__name__:
            raise OSError(
                f"the hub does not answer within {limit} s; to wait longer set "
                "HF_HUB_ETAG_TIMEOUT, to read the hub's cache alone set HF_HUB_OFFLINE=1"
            ) from None


def _is_gated(error: BaseException | None) -> bool:
    from huggingface_hub.errors import GatedRepoError  # most runs need no hub

    while error is not None:
        # `datasets` raises an error of its own without the client's as its cause.
        if isinstance(error, GatedRepoError) or "is a gated dataset" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
