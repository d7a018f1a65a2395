"""Tests of bench/advice."""
