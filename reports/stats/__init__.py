"""Statistics of reports: pure functions, which know no records, tables or files.

A question that the data cannot answer gets None, never a number: an interval from one seed, a test
on differences that do not vary.
"""
