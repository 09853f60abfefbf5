"""Recording, changing and deleting scores, and agreement of judges with people."""
