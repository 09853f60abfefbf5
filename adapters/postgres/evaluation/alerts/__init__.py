"""Alerts, webhooks and their deliveries."""
