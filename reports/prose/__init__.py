"""Sentences about results: verdicts, effects and comparisons."""
