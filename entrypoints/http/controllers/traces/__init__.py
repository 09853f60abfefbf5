"""Ingesting, listing, reading and changing traces; analytics."""
