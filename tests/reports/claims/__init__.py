"""Tests of `reports/claims`."""
