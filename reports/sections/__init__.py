"""What the report says, a file for each section; their order stands in `reports.render.report`.

Each has one function, `section`, from the evidence to the section; None where there is nothing to
say. None knows in which format it will be written.
"""
