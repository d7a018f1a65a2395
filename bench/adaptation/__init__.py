"""What a method is, how it is found by name, and the optimiser that trains it."""
