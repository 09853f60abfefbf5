"""Ingesting, reading, changing and analyzing traces."""
