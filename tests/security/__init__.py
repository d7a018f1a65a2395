"""What is promised in docs/security.md, held to it."""
