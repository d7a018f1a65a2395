"""Backbones: loading, attention, precision, the run axis, heads, initial adapters, merging."""
