"""Monitors, and the feed of traces that changed."""
