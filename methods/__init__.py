"""The methods under comparison, one file each; `bench.adaptation.registry` finds them by name."""
