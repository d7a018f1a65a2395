"""Tests of `integration/chaos`."""
