"""Scores, their analytics, and agreement with people."""
