"""Evaluates the targets of a run: metrics of traces, signals of sessions, estimates, dry runs."""
