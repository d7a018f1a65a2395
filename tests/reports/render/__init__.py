"""Tests of `reports/render`."""
