"""The interface of methods, their registry, and the optimiser that trains them."""
