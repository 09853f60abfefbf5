"""What every feature of this adapter needs of PostgreSQL."""
