"""Ingesting batches, tagging and deleting traces and sessions."""
