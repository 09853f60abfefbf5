"""Spans across traces, and groups of errors."""
