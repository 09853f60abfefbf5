"""Retention and erasure over dicts."""
