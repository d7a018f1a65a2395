"""The progress of a results folder, for people and for Prometheus."""
