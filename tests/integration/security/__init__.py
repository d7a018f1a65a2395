"""Promises of docs/security.md, each held to."""
