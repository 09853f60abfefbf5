"""Public links to traces in memory."""
