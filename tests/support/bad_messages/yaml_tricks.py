"""YAML that is more than it seems."""

from tests.support.bad_case import LAUGHS, Bad, folder, pipe, text

YAML_TRICKS = [
    Bad(
        "ten thousand lists",
        text("[" * 10_000),
        "{suite}: not valid YAML: nested deeper than 50 levels, line 1",
    ),
    Bad(
        "a billion laughs",
        text(LAUGHS),
        "{suite}: not valid YAML: more than 200,000 values with its aliases written out, line 6",
    ),
    Bad(
        "key that appears twice",
        text("name: small\nseeds: 2\nseeds: 3\n"),
        "{suite}: not valid YAML: 'seeds' appears twice, again in line 3",
    ),
    Bad(
        "alias of itself",
        text("tasks: &a [*a]"),
        "{suite}: not valid YAML: alias 'a' refers to nothing that is complete, line 1",
    ),
    Bad(
        "alias of nothing",
        text("tasks: *a"),
        "{suite}: not valid YAML: alias 'a' refers to nothing that is complete, line 1",
    ),
    Bad(
        "large file",
        text("#" * 1_000_001),
        "{suite}: cannot be read: it is larger than 1,000,000 bytes, the most that is read",
    ),
    Bad(
        "tag that calls",
        text("name: !!python/object/apply:os.getcwd []"),
        "{suite}: not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.getcwd', line 1, column 7",
    ),
    Bad(
        "tag that does not fit",
        text("name: !!bool maybe"),
        "{suite}: not valid YAML: a value does not fit its type: 'maybe'",
    ),
    Bad(
        "date that is none",
        text("name: !!timestamp 2001-99-99"),
        "{suite}: not valid YAML: a value does not fit its type: month must be in 1..12",
    ),
    Bad(
        "control character",
        text("name: a\x07b"),
        "{suite}: not valid YAML: special characters are not allowed at character 7: '\\x07'",
    ),
    Bad(
        "other encoding",
        text("name: gr\u00fcn".encode("latin-1")),
        "{suite}: cannot be read: 'utf-8' codec can't decode byte 0xfc in position 8: "
        "invalid start byte",
    ),
    Bad(
        "folder for a file",
        folder,
        "{suite}: cannot be read: it is no regular file",
    ),
    Bad(
        "pipe for a file",
        pipe,
        "{suite}: cannot be read: it is no regular file",
    ),
]
