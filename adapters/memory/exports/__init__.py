"""Exports and their archive over dicts."""
