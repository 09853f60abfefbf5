"""Runs and the selection of their targets."""
