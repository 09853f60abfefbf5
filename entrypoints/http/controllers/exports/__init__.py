"""Exports of traces, as streams and as files."""
