"""Tests of `adaptation`."""
