"""`python -m gapbench` is the command `gapbench`."""

import sys

from gapbench.bench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
