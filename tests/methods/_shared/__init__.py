"""Tests of what several methods share, module by module."""
