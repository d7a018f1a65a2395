"""What to do when the Hugging Face hub keeps a repository for those who have asked for it."""

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


def _is_gated(error: BaseException | None) -> bool:
    from huggingface_hub.errors import GatedRepoError  # most runs need no hub

    while error is not None:
        # `datasets` raises an error of its own without the client's as its cause.
        if isinstance(error, GatedRepoError) or "is a gated dataset" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
