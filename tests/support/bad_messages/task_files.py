"""Task files that cannot be."""

from gapbench.bench.metrics import base as metrics
from gapbench.bench.tasks import kinds
from tests.support.bad_case import HASH, Bad, task

TASK_FILES = [
    Bad(
        "version of none",
        task(version=0),
        "{task}: field 'version': Input should be greater than or equal to 1; got 0",
    ),
    Bad(
        "unknown kind",
        task(kind="ranking"),
        "{task}: field 'kind': unknown kind 'ranking'; allowed: "
        + ", ".join(sorted(kinds.discover())),
    ),
    Bad(
        "a single class",
        task(labels=["no"]),
        "{task}: field 'labels' must name at least two classes",
    ),
    Bad(
        "no text",
        task(text=[]),
        "{task}: field 'text': Tuple should have at least 1 item after validation, not 0; got []",
    ),
    Bad(
        "three texts",
        task(text=["a", "b", "c"]),
        "{task}: field 'text' may name at most two columns for this kind",
    ),
    Bad(
        "unknown metric",
        task(metrics=["acuracy"]),
        "{task}: field 'metrics': metric: 'acuracy' is unknown; use one of "
        + ", ".join(metrics.discover()),
    ),
    Bad(
        "split that climbs",
        task(splits={"train": "../train", "test": "validation"}),
        "{task}: field 'splits.train': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got '../train'",
    ),
    Bad(
        "endless inputs",
        task(max_length=10**9),
        "{task}: field 'max_length': Input should be less than or equal to 1000000; got 1000000000",
    ),
    Bad(
        "repository that is a folder",
        task(source={"hub": "../data", "revision": HASH}),
        "{task}: field 'source.hub.hub': must be the id of a repository, OWNER/NAME; got '../data'",
    ),
    Bad(
        "short revision",
        task(source={"hub": "a/b", "revision": "0123456"}),
        "{task}: field 'source.hub.revision': must be a full commit hash, 40 hex digits;"
        " got '0123456'",
    ),
    Bad(
        "a million million rows",
        task(source={"builtin": "x", "seed": 0, "sizes": {"train": 10**12}}),
        "{task}: field 'source.builtin.sizes.train': Input should be less than or equal to "
        "1000000; got 1000000000000",
    ),
    Bad(
        "two tests",
        task(source={"train": "a.csv", "test": "b.csv", "test_share": 0.2}),
        "{task}: field 'source.train': give exactly one of 'test' and 'test_share'; got "
        "{'test': 'b.csv', 'test_share': 0.2, 'train': 'a.csv'}",
    ),
    Bad(
        "own file that is not there",
        task(source={"train": "a.csv", "test_share": 0.2}),
        "task 'animals': {folder}/tasks/a.csv does not exist; put it back, or correct the "
        "field 'source'",
    ),
    Bad(
        "prompt of a classification",
        task(prompt="{sentence}"),
        "{task}: field 'prompt' belongs to tasks of kind choice or generation or instruction",
    ),
]
