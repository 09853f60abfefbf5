"""Storing traces and showing them again."""
