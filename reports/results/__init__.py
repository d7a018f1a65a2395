"""From a results folder to rows: loading, selecting, and the outputs for single items."""
