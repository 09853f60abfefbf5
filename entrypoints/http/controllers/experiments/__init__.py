"""Experiments: results of items of a dataset, and what was measured of them."""
