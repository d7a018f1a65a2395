"""One stack in training: phases, evaluation, checkpoints, cost, and the records it ends in."""
