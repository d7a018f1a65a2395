"""`--version`, and `--version --json`: facts about the installation for bug reports."""

import argparse
import json
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from gapbench.bench import __version__

_FOR_DEVELOPERS = re.compile(r"extra == .(test|docs|dev)")


class ShowVersion(argparse.Action):
    """Print the version, or the installation with `--json` after it, and exit."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(
            option_strings,
            dest,
            default=argparse.SUPPRESS,  # otherwise it would be an option of every command
            nargs=argparse.REMAINDER,
            metavar="",
            help="show the version; --version --json shows the installation, for bug reports",
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - the interface of an action
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002 - the interface of an action
    ) -> None:
        """Print and exit; anything but `--json` after the flag is refused."""
        if values not in ([], ["--json"]):
            parser.error(
                f"--version takes nothing, or --json after it; got {' '.join(values or ())}"
            )
        text = json.dumps(installation(), indent=2) if values else f"gapbench {__version__}"
        print(text)
        parser.exit()


def installation() -> dict[str, Any]:
    """Return versions, code, platform and device of this installation."""
    from gapbench.bench.core.process import choose_device
    from gapbench.bench.store.provenance import describe, now

    seen = describe(choose_device("auto"), now())
    return {
        "gapbench": __version__,
        "code_hash": seen.code_hash,
        "git_commit": seen.git_commit,
        "git_dirty": seen.git_dirty,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": seen.device,
        "device_type": seen.device_type,
        "threads": seen.threads,
        "packages": _packages(),
    }


def _packages() -> dict[str, str | None]:
    """Return the version of every package that gapbench uses, None if absent."""
    used = [line for line in requires("gapbench") or () if not _FOR_DEVELOPERS.search(line)]
    names = {re.split(r"[\s\[<>=!~;]", line, maxsplit=1)[0] for line in used}
    return {name: _version(name) for name in sorted(names, key=str.lower)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
