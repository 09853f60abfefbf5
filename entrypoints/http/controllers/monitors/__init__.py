"""Monitors, alerts and webhooks."""
