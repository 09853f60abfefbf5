"""Monitors and their schedules, alerts, and webhook addresses."""
