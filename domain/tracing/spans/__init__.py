"""Spans across traces: filters, figures, groups of errors, and the tree of one trace."""
