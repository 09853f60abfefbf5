"""Judges: by rules, and by language models."""
