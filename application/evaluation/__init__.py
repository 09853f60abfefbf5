"""Scoring traces and sessions: scores, runs, and the workers' half of a run."""
