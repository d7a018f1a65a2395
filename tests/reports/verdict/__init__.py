"""Tests of `reports/stats`."""
