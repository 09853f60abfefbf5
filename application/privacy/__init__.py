"""Retention and erasure: which traces are deleted, when, and with which receipt."""
