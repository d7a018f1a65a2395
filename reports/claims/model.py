"""Claims of papers as data: the schema of `claims.yaml`, and reading it.

The claims that come with gapbench are in `results/reference/claims.yaml`; a reader may give a file
of others.
"""

from collections import Counter
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gapbench.bench.config.run import Budget, Training
from gapbench.bench.core.errors import ConfigError
from gapbench.bench.core.safe_parsing import read_yaml
from gapbench.bench.core.schema import DisplayName, FrozenModel, Name, suggest, validate

Metric = Literal["score", "gap", "ece", "nll", "train_score"]
"""What a claim is about: test score, generalization gap, calibration error, NLL, train score.

The direction of scores is that of the task's metric; of the others less is better.
"""
Expected = Literal["better", "worse", "alike"]
Certainty = Literal[
    "read", "baseline_source", "third_party", "reviews", "inferred", "plot", "recalled"
]
"""How a claim is known: the words of `results/reference/published/README.md`."""
Text = Annotated[str, Field(min_length=1, max_length=600)]


class Side(FrozenModel):
    """A method and the settings that it must have had; those that are not named may be any."""

    method: DisplayName
    config: dict[str, Any] = Field(default={}, description="settings of the method")
    training: dict[str, Any] = Field(default={}, description="optimiser settings")
    budget: dict[str, Any] = Field(default={}, description="such as epochs and train_size")
    tuned: bool = Field(default=False, description="whether it is the winner of a search")

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        for name, owner in (("training", Training), ("budget", Budget)):
            known = list(owner.model_fields)
            for given in getattr(self, name):
                if given not in known:
                    raise ValueError(f"unknown field '{name}.{given}'; {suggest(given, known)}")
        return self

    def __str__(self) -> str:
        parts = {**self.config, **self.training, **self.budget}
        told = ", ".join(f"{name} {value}" for name, value in parts.items())
        name = f"tuned {self.method}" if self.tuned else self.method
        return f"{name} ({told})" if told else name


def _method(value: object) -> object:
    """Accept the name of a method in place of a side with nothing else."""
    return {"method": value} if isinstance(value, str) else value


GivenSide = Annotated[Side, BeforeValidator(_method)]


class PublishedClaim(FrozenModel):
    """One claim: the first side is better or worse than the second in a metric, or alike.

    Sides with budgets of their own may be of different suites, as long as they share task,
    backbone and test items.
    """

    id: Name
    text: Text = Field(description="the claim, in words that are not the paper's")
    source: Text = Field(description="authors, year and arXiv number")
    place: Text = Field(description="table, section or equation")
    certainty: Certainty
    first: GivenSide
    second: GivenSide
    metric: Metric = "score"
    tasks: tuple[Name, ...] = Field(default=(), description="tasks that it is about; none: any")
    expected: Expected
    margin: float | None = Field(
        default=None, gt=0, description="of `alike`: the largest difference that is called so"
    )
    published: float | None = Field(
        default=None, description="first minus second as published, in gapbench's units"
    )
    note: str = Field(default="", max_length=600)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.expected == "alike") != (self.margin is not None):
            raise ValueError("'margin' goes with 'expected: alike', and only with it")
        if self.first == self.second:
            raise ValueError("'first' and 'second' are the same")
        return self

    @property
    def across(self) -> bool:
        """Whether its sides have budgets of their own, and so are rows of different settings."""
        return self.first.budget != self.second.budget


class ClaimsFile(FrozenModel):
    """The content of a file of claims."""

    claims: tuple[PublishedClaim, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        counts = Counter(claim.id for claim in self.claims)
        if doubled := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"ids must differ: {', '.join(doubled)} appears more than once")
        return self


def load(path: Path | None = None) -> tuple[PublishedClaim, ...]:
    """Read a file of claims.

    Args:
        path: the file; None for the claims that come with gapbench.

    Raises:
        ConfigError: if it cannot be read, or a field is invalid.
    """
    if path is not None:
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: expected a mapping with the field 'claims'")
        return validate(ClaimsFile, content, str(path)).claims
    own = files("gapbench") / "results" / "reference" / "claims.yaml"
    with as_file(own) as found:
        return validate(ClaimsFile, read_yaml(found), "claims.yaml").claims
