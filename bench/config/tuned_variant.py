"""Names of variants whose settings were tuned."""

_TUNED = "tuned"


def tuned_label(variant: str) -> str:
    """Return the name in tables for the winner of a variant's study."""
    return _TUNED if variant == "default" else f"{variant} {_TUNED}"


def is_tuned(variant: str) -> bool:
    """Whether a variant is the winner of a study."""
    return f" {variant}".endswith(f" {_TUNED}")
