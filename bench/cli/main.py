"""The command line: parse, call, and turn errors into a message and an exit code.

The commands are in `bench.cli.commands`, one file each.

Results go to stdout, progress and messages to stderr. Exit codes: 0 all runs ok, 2 bad usage or
invalid input, 3 finished with failed runs, 130 interrupted or out of time (resumable).
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from gapbench.bench.api.choices import IDLE_THREADS, INTERRUPTED, OK, USAGE
from gapbench.bench.cli.command import Command
from gapbench.bench.cli.parser import build_parser
from gapbench.bench.core.errors import BenchError, one_line


def main(given: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _print_anything()
    debug = False
    try:
        try:
            options = build_parser().parse_args(given)
            debug = options.debug
            return _call(options, given)
        finally:
            _flush()
    except KeyboardInterrupt:
        print("gapbench: interrupted; run the same command again to resume", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has exited
        return OK
    except (BenchError, OSError) as error:  # OSError: a permission, a full disk, a long name
        if debug:
            raise
        told = str(error) if isinstance(error, BenchError) else one_line(str(error))
        print(f"gapbench: error: {told}", file=sys.stderr)
        return USAGE


def _call(options: argparse.Namespace, given: Sequence[str] | None) -> int:
    options.words = list(sys.argv[1:] if given is None else given)
    os.environ.setdefault(*IDLE_THREADS)
    logging.getLogger("huggingface_hub").propagate = False  # it has its own handler
    logging.basicConfig(level=logging.WARNING, handlers=[_warnings()])
    command: Command = options.command
    return command.main(options)


def _flush() -> None:
    """Write results out here, where a failure is told, and not when the process ends.

    Python keeps what could not be written, tries again at the end, and exits with 120.
    """
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise


def _print_anything() -> None:
    """Escape unsupported characters, and keep a closed or full stream from ending a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for name in (
        "write",
        "flush",
    ):  # only for progress and messages; without results a command fails
        setattr(sys.stderr, name, _lenient(getattr(sys.stderr, name)))


def _lenient(call: Callable[..., object]) -> Callable[..., object]:
    def attempt(*given: object) -> object:
        with suppress(OSError):
            return call(*given)
        return None

    return attempt


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return one_line(super().formatMessage(record))


def _warnings() -> logging.Handler:
    """Return the handler that prints warnings, without interrupts that libraries log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("gapbench: %(message)s"))
    handler.addFilter(lambda record: not _interrupted(record))
    return handler


def _interrupted(record: logging.LogRecord) -> bool:
    return record.exc_info is not None and isinstance(record.exc_info[1], KeyboardInterrupt)


if __name__ == "__main__":
    sys.exit(main())
