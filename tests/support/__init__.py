"""What tests of several rooms share: small suites, stacks, files and fabricated results."""
