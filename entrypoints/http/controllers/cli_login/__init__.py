"""Signing in the command line through a browser."""
