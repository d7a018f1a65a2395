"""From a list of runs to records: stacks, their order, and the engines that work on them."""
