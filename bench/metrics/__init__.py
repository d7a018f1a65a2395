"""Scores: metrics of labels, tokens, spans and texts, and calibration."""
