"""What papers claim of methods, as data, and what a results folder says of each claim."""
