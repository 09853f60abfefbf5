"""Exports of traces to files, and imports of exported traces."""
