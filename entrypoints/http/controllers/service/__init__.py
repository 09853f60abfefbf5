"""Health, version, Prometheus metrics, API reference."""
