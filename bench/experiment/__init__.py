"""Suites: loading and expansion, suites for a user's own rows, copies for offline computers."""
