"""Encodes exported traces: the columns, CSV and Parquet."""
