"""Recording and reading scores, their analytics, and agreement of judges with people."""
