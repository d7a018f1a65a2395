"""Grids and tasks as data: every suite and every task is one YAML file."""
