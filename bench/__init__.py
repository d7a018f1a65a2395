"""The engine of gapbench: protocol, stacked training, records and the command line."""

__version__ = "0.1.0"
