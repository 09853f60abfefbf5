"""Prices and repricing over dicts."""
