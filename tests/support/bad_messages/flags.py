"""Flags that cannot be meant."""

from tests.support.bad_case import HASH, Bad, as_it_is, task
from tests.support.bad_inputs import suite

FLAGS = [
    Bad(
        "hub data offline",
        task(source={"hub": "a/b", "revision": HASH}),
        "task 'animals': its data would come from the hub (a/b), which --offline forbids; "
        "copy it with 'gapbench fetch' where there is a network, and give its folder with "
        "--data DIR",
        ("--offline",),
        data=False,
    ),
    Bad(
        "hub backbone offline",
        suite(backbones=[f"owner/name@{HASH}"]),
        "backbone 'owner/name@0123456789abcdef0123456789abcdef01234567' would come from the"
        " hub (owner/name), which --offline forbids; copy it with 'gapbench fetch' where "
        "there is a network, and give its folder with --backbone DIR",
        ("--offline",),
    ),
    Bad(
        "flag with too many runs",
        as_it_is,
        "suite 'small': field 'seeds': a number of seeds must be at least 1 and at most "
        "100000; got 100001",
        (
            "--seeds",
            "100001",
        ),
    ),
    Bad(
        "flag with an empty backbone",
        as_it_is,
        "suite 'small': field 'backbones.0': String should have at least 1 character; got ''",
        (
            "--backbone",
            "",
        ),
    ),
]
