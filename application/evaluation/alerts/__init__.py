"""Alerts on monitors, and the webhooks that report them."""
