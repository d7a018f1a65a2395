"""Tests of `reports/tables`."""
