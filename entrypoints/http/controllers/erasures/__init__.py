"""Erasing what belongs to a user or a session."""
