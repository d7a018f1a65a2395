"""Task kinds, and how a trained run is scored on their data."""
