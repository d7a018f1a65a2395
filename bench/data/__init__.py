"""From files and hub ids to encoded splits and batches."""
