"""Tuning: search a method's settings on validation alone, under a budget equal for all methods."""
