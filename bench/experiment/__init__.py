"""Suites: grids as data, a suite for one's own rows, copies for computers without a network."""
