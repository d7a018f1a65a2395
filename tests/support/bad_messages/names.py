"""Names that would be paths, or more than text."""

from tests.support.bad_case import HASH, LONG, Bad, entry, method
from tests.support.bad_inputs import suite

NAMES = [
    Bad(
        "name that climbs",
        suite(name="../escape"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got '../escape'",
    ),
    Bad(
        "name from the root",
        suite(name="/etc/passwd"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got '/etc/passwd'",
    ),
    Bad(
        "name with a NUL",
        suite(name="a\0b"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got 'a\\x00b'",
    ),
    Bad(
        "name with a line break",
        suite(name="a\n"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got 'a\\n'",
    ),
    Bad(
        "long name",
        suite(name=LONG),
        "{suite}: field 'name': String should have at most 100 characters; got "
        "'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...",
    ),
    Bad(
        "name of look-alikes",
        suite(name="sm\u0430ll"),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit;"
        " got 'sm\u0430ll'",
    ),
    Bad(
        "no name",
        suite(name=""),
        "{suite}: field 'name': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got ''",
    ),
    Bad(
        "task that climbs",
        suite(tasks=["../secret"]),
        "{suite}: field 'tasks.0.task': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got '../secret'",
    ),
    Bad(
        "task from the root",
        suite(tasks=["/etc/passwd"]),
        "{suite}: field 'tasks.0.task': may hold letters, digits, _ . and -, and "
        "begins with a letter or digit; got '/etc/passwd'",
    ),
    Bad(
        "long task",
        suite(tasks=[LONG]),
        "{suite}: field 'tasks.0.task': String should have at most 100 characters; got "
        "'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...",
    ),
    Bad(
        "variant with an escape sequence",
        method(variant="\x1b[2J"),
        "{suite}: field 'methods.0.variant': may hold no control characters and no line "
        "breaks; got '\\x1b[2J'",
    ),
    Bad(
        "variant that turns text round",
        method(variant="a\u202eb"),
        "{suite}: field 'methods.0.variant': may hold no control characters and no line "
        "breaks; got 'a\\u202eb'",
    ),
    Bad(
        "long variant",
        method(variant=LONG),
        "{suite}: field 'methods.0.variant': String should have at most 200 characters; got"
        " 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...",
    ),
    Bad(
        "backbone with a NUL",
        suite(backbones=["a\0b"]),
        "{suite}: field 'backbones.0': may hold no control characters and no line breaks; "
        "got 'a\\x00b'",
    ),
    Bad(
        "long backbone",
        suite(backbones=[LONG]),
        "backbone 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn' is neither built"
        " in (tiny-decoder, tiny-encoder), nor an existing folder or GGUF file, nor a hub id with "
        "a pinned revision such as 'owner/name@<commit hash>' (40 digits); give one of these "
        "by --backbone",
    ),
    Bad(
        "backbone of nobody",
        suite(backbones=["~nobody-at-all/x"]),
        "backbone '~nobody-at-all/x' is neither built in (tiny-decoder, tiny-encoder), nor "
        "an existing folder or GGUF file, nor a hub id with a pinned revision such as "
        "'owner/name@<commit hash>' (40 digits); give one of these by --backbone",
    ),
    Bad(
        "branch as revision",
        suite(backbones=["owner/name@main"]),
        "backbone 'owner/name@main' is neither built in (tiny-decoder, tiny-encoder), nor "
        "an existing folder or GGUF file, nor a hub id with a pinned revision such as "
        "'owner/name@<commit hash>' (40 digits); give one of these by --backbone",
    ),
    Bad(
        "repository that climbs",
        suite(backbones=[f"owner/..@{HASH}"]),
        "backbone 'owner/..@0123456789abcdef0123456789abcdef01234567' is neither built in "
        "(tiny-decoder, tiny-encoder), nor an existing folder or GGUF file, nor a hub id with a "
        "pinned revision such as 'owner/name@<commit hash>' (40 digits); give one of these by "
        "--backbone",
    ),
    Bad(
        "start that is not there",
        entry(start="../adapter"),
        "adapter {folder}/../adapter: there is no such folder; give a folder as 'gapbench "
        "export RUN --out DIR' writes it",
    ),
    Bad(
        "start without a name",
        entry(start=""),
        "{suite}: field 'tasks.0.start': String should have at least 1 character; got ''",
    ),
]
