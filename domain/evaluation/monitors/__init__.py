"""Monitors, their schedules, alerts, and webhooks.

monitor    starts runs on a schedule over new or changed targets
cadence    the text of a schedule: an interval, or five cron fields in UTC
watermark  how far a monitor has read
alert      a condition on a figure of a monitor's runs; changes of its state are notified
webhook    a URL that receives notifications
"""
