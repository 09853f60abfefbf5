"""Prices of models, and repricing of stored spans."""
