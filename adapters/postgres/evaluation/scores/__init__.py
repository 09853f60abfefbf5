"""Scores: their rows, lists, analytics, and agreement with people."""
