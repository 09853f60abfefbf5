"""Figures of this service for Prometheus: what is counted, and where several processes keep it."""
