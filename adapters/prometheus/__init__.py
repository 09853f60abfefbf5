"""Prometheus metrics of this service: definitions, the registry, and its files per process."""
