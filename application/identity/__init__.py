"""Finding out who asks, and giving people and programs a way in."""
