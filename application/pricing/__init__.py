"""Prices of models that a project sets, and repricing of stored spans."""
