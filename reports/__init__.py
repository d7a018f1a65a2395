"""From stored records to tables, statistics, figures and pages; imports no torch."""
