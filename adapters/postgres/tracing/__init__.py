"""Traces, sessions and analytics, and the roll-ups that every write updates."""
