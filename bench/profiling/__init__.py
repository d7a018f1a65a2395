"""Measurements of this computer: step times, precision, stack sizes."""
