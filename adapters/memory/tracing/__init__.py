"""Traces, sessions and analytics over dicts."""
