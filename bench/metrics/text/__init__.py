"""Metrics of generated text: pure functions of hypotheses and references.

Each takes one hypothesis and a list of references an example, and returns one number for the whole
corpus. They equal the scripts that the field reports with. Nothing here generates text.
"""
