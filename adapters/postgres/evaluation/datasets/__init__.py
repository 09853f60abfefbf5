"""Datasets: items with the range of versions that they are in, and their erasure."""
