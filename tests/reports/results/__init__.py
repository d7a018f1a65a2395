"""Tests of `reports/results`."""
