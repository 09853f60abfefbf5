"""Erasure of the data of a user or a session."""
