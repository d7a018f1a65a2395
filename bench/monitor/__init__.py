"""How far a results folder is, for people and for Prometheus."""
