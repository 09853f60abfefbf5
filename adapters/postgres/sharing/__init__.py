"""Public links to traces in PostgreSQL."""
