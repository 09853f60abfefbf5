"""Scores: rows, lists, analytics, and agreement of judges with human labels."""
