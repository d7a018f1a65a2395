"""What a task kind is, and how a trained run is scored on its data."""
