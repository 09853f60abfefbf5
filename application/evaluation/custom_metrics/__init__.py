"""Custom metrics: creating, revising and listing them; the metric catalogue."""
