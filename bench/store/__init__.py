"""The results folder: records, plans, events, failures and where numbers come from."""
