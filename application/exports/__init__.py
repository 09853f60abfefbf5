"""Exports of traces, as a stream or as a file, and imports."""
