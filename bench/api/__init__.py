"""The Python API, which `gapbench` offers: run, tune, check and plan suites, and read results.

The command line calls the same functions. No module here loads the training libraries on import:
functions that need them import them when they are called.
"""
