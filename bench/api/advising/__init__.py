"""The work of `gapbench.advise`: own rows as a suite, the race block by block, the answer."""
