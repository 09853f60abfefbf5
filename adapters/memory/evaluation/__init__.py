"""Scores, runs, work queue, monitors and alerts over dicts."""
