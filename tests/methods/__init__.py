"""Tests of single methods, and the conformance suite over all of them."""
