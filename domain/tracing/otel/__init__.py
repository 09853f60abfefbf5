"""OpenTelemetry: spans and log records as they are sent, and the traces computed from them."""
