"""A Slurm of one node, started from the packages of the system."""
