"""What reaches the terminal of what libraries log."""

import subprocess
import sys

WARNED = r"""
import logging
from gapbench.bench.cli.main import main

main(["list", "metrics"])
logging.getLogger("other").warning("first\nsecond \x1b[31m")
try:
    raise KeyboardInterrupt
except KeyboardInterrupt:
    logging.getLogger("other").exception("Exception during reset")
"""


def test_warnings_are_one_safe_line_each_and_an_interrupt_is_none() -> None:
    """What a library logs cannot steer a terminal, nor show Ctrl-C as an error of its own."""
    done = subprocess.run(
        [sys.executable, "-c", WARNED], capture_output=True, text=True, check=True
    )
    assert done.stderr == "gapbench: first second \\x1b[31m\n"
