"""The methods under comparison, one file each; `bench.registry` finds them by name."""
