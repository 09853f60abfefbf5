"""Recording and reading scores, their analytics, and agreement with people."""
