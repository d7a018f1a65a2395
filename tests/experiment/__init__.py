"""Tests of `experiment`."""
