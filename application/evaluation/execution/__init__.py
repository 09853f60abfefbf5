"""Evaluating one target: what a worker does with a claimed item of work."""
