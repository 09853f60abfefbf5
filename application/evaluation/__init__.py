"""Evaluation of traces and sessions: scores, runs, monitors, alerts, and the work of workers."""
