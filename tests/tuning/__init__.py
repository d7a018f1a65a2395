"""Tests of `tuning`."""
