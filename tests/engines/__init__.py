"""Engines: who works on stacks, and what happens when one of them dies."""
