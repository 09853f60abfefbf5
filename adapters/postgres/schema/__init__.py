"""The schema: the migrations that make it, and the tables that Piccolo queries."""
