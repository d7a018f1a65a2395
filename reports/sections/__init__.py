"""The report's sections in their order, one file each: from evidence to tables, text, figures."""
