"""The command line: parse, call, and turn errors into a message and an exit code.

The commands are in `bench.cli.commands`, one file each.

Results go to stdout, progress and messages to stderr. Exit codes: 0 all runs ok, 1 a gate that is
closed, 2 bad usage or invalid input, 3 finished with failed runs, 130 interrupted or out of time
(resumable).
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import cast

from gapbench.bench.api.choices import IDLE_THREADS, INTERRUPTED, OK, USAGE
from gapbench.bench.cli.command import Command
from gapbench.bench.cli.parser import build_parser
from gapbench.bench.core.errors import BenchError, one_line


def main(given: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _print_anything()
    try:
        code = _told(given)
    except SystemExit as stop:  # the parser has answered by itself
        code = int(stop.code or OK)
    try:
        sys.stdout.flush()  # here, where a failure is told, and not when the process ends
    except BenchError as error:
        print(f"gapbench: error: {error}", file=sys.stderr)
        return code or USAGE
    return code


def _told(given: Sequence[str] | None) -> int:
    """Run one command, print what ended it, and return its exit code."""
    os.environ.setdefault(*IDLE_THREADS)
    logging.getLogger("huggingface_hub").propagate = False  # it has its own handler
    logging.basicConfig(level=logging.WARNING, handlers=[_warnings()])
    debug = False
    try:
        options = build_parser().parse_args(given)
        options.words = list(sys.argv[1:] if given is None else given)
        debug, command = options.debug, cast("Command", options.command)
        return command.main(options)
    except KeyboardInterrupt:
        print("gapbench: interrupted; run the same command again to resume", file=sys.stderr)
        return INTERRUPTED
    except (BenchError, OSError) as error:  # OSError: a permission, a name that is too long
        if debug:
            raise
        told = str(error) if isinstance(error, BenchError) else one_line(str(error))
        print(f"gapbench: error: {told}", file=sys.stderr)
        return USAGE


def _print_anything() -> None:
    """Escape unsupported characters, and keep a closed or full stream from ending a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for name in ("write", "flush"):
        # Progress and messages may be lost; results may only where nobody reads them any more.
        setattr(sys.stderr, name, _lenient(getattr(sys.stderr, name)))
        setattr(sys.stdout, name, _while_read(getattr(sys.stdout, name)))


def _lenient(call: Callable[..., object]) -> Callable[..., object]:
    def attempt(*given: object) -> object:
        with suppress(OSError):
            return call(*given)
        return None

    return attempt


def _while_read(call: Callable[..., object]) -> Callable[..., object]:
    """Let a command go on to its own exit code when the reader, such as `head`, has exited."""

    def attempt(*given: object) -> object:
        try:
            return call(*given)
        except OSError as error:
            _turn_away()
            if isinstance(error, BrokenPipeError):
                return None
            raise BenchError(
                f"standard output cannot be written: {error.strerror}; send it elsewhere"
            ) from None

    return attempt


def _turn_away() -> None:
    """Send standard output nowhere: Python tries what is left again at the end, and exits 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


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
