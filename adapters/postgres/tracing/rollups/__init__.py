"""Counters that writes add to, and what reads figures, facets and percentiles from them."""
