"""Evaluation runs over traces and sessions."""
