"""Validated configs of runs, tasks and their sources."""
