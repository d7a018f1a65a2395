"""Exact match of the final number: values worked out by the filters of lm-evaluation-harness."""

import numpy as np
import pytest

from gapbench.bench.metrics.base import get

REFERENCE = "She sells 3 * 6,000 = <<3*6000=18000>>18,000.\n#### 18,000"


@pytest.mark.parametrize(
    ("answer", "strict", "flexible"),
    [
        (REFERENCE, 1, 1),
        ("#### 18000", 1, 1),
        ("#### 18000.", 1, 1),
        ("#### 18000 and then #### 5", 1, 0),
        ("#### 5\n#### 18000", 0, 1),
        ("The answer is $18,000.", 0, 1),
        ("#### $18,000", 0, 1),
        ("####18000", 0, 1),
        ("#### -18000", 0, 0),
        ("it is 18000 or so", 0, 1),
        ("it is 18000.0", 0, 0),
        ("none", 0, 0),
        ("", 0, 0),
    ],
)
def test_number_of_an_answer_is_found_as_the_filters_find_it(
    answer: str, strict: int, flexible: int
) -> None:
    """Strictly it is the first after ####; flexibly the last of all."""
    texts = [answer], [[REFERENCE]]
    assert get("final_number").function(*texts) == strict
    assert get("final_number_flexible").function(*texts) == flexible


def test_each_answer_adds_whether_it_is_right() -> None:
    """The values of examples have the score as their mean; any reference may match."""
    hypotheses = ["#### 1", "#### 2", "3"]
    references = [["#### 1"], ["#### 5", "#### 2"], ["#### 3"]]
    for name, expected in (("final_number", [1, 1, 0]), ("final_number_flexible", [1, 1, 1])):
        values = get(name).pseudovalues(hypotheses, references)
        np.testing.assert_array_equal(values, expected)
        assert get(name).function(hypotheses, references) == np.mean(expected)
