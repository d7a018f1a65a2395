"""Shared by every room: errors, validation, files, seeds, processes. No models."""
