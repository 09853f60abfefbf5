"""Stores payloads as one text of each trace, in compressed blocks, and moves large blocks out."""
