"""Metrics of generated text: pure functions of hypotheses and references.

Each takes one hypothesis and a list of references per example, and returns one score for the
whole corpus, equal to that of the field's standard script. Nothing here generates text.
"""
