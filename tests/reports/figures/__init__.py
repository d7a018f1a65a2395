"""Tests of `reports/figures`."""
