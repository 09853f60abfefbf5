"""Stores OpenTelemetry fragments, and the traces that are computed from them."""
