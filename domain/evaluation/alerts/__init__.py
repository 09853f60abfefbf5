"""Alerts over the runs of monitors, and webhooks.

alert      a condition on a figure of a monitor's runs; changes of its state are notified
webhook    a URL that receives notifications
"""
