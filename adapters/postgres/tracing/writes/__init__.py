"""Writes, edits and deletes traces: in batches, under the lock of their rows."""
