"""Claims that nobody made, for tests of how claims are judged."""

from gapbench.reports.claims.model import PublishedClaim


def dora_beats_lora(number: int = 0) -> PublishedClaim:
    """Return the claim that DoRA scores higher than LoRA; the number tells several apart."""
    return PublishedClaim(
        id=f"c{number}",
        text="one is better",
        source="nobody",
        place="nowhere",
        certainty="inferred",
        first={"method": "dora"},  # type: ignore[arg-type]
        second={"method": "lora"},  # type: ignore[arg-type]
        expected="better",
    )
