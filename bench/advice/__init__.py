"""From a file of rows to one advised configuration: arms, a race on folds, and a verdict."""
