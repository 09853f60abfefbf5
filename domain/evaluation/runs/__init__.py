"""Evaluation runs: their states, the selection of targets, retries and votes."""
