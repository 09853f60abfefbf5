"""The schema: tables as Piccolo sees them, and the migrations that make them."""
