"""Experiments, and the traces that are their results."""
