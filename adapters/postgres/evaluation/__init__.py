"""Evaluation in PostgreSQL: one folder for each feature."""
