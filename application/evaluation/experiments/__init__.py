"""Experiments: creating them, taking results, and starting their runs."""
