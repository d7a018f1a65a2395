"""The command line: a layer above engine, methods and reports."""
