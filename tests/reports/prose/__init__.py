"""Tests of `reports/prose`."""
