"""`advise` from rows to an answer."""
