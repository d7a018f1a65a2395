"""Tests of `execution/engines`."""
