"""Tests of `reports/sections`."""
