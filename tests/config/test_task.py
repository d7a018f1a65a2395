"""Definitions of tasks that would end in a wrong score are refused when they are read."""

from typing import Any

import pytest
from pydantic import ValidationError

from gapbench.bench.config.decoding import Decoding
from gapbench.bench.config.task import Task
from gapbench.bench.core.errors import DataError
from gapbench.bench.tasks import kinds
from tests.support.small_suite import TASK

THREE = {"labels": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"splits": {"more": {"train": "other"}}}, "'train' cannot name a further test split"),
        ({"splits": {"more": {"validation": "other"}}}, "'validation' cannot name"),
        ({"splits": {"more": {"test": "other"}}}, "'test' cannot name"),
        ({"splits": {"more": {"test.hard": "other"}}}, "'test.hard' cannot name"),
        ({"splits": {"more": {"train_overlap": "other"}}}, "'train_overlap' cannot name"),
        (THREE | {"metrics": ["accuracy", "f1"]}, "'metrics': 'f1' is that of the second of two"),
        (THREE | {"checkpoint_metric": "f1"}, "'checkpoint_metric': 'f1' is that"),
    ],
)
def test_bad_definition_is_refused(change: dict[str, Any], says: str) -> None:
    """The message names the value and says why."""
    assert Task.model_validate(TASK)
    with pytest.raises(ValidationError, match=says):
        Task.model_validate(TASK | change)


def test_empty_stop_is_refused() -> None:
    """It would end every answer before its first character."""
    assert Decoding(stop=("end",))
    with pytest.raises(ValidationError):
        Decoding(stop=("",))


def test_truth_values_are_no_values_of_a_regression() -> None:
    """As they are no numbers of classes."""
    task = Task.model_validate(
        TASK | {"kind": "regression", "labels": [], "label_range": [0, 5], "metrics": ["pearson"]}
    )
    with pytest.raises(DataError, match="row 1: column 'label' holds True"):
        kinds.get("regression").read(task, "here", {"sentence": ["a", "b"], "label": [2, True]})
