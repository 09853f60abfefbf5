"""Exports as tables: what their columns are, and files of them as CSV and as Parquet."""
