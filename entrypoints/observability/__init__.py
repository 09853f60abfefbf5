"""Metrics, logs and spans of the service itself."""
