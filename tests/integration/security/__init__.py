"""Tests of `integration/security`."""
