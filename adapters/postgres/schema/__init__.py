"""The schema: the migrations that make it."""
