"""Scores and outcomes, how they are listed, and their analytics."""
