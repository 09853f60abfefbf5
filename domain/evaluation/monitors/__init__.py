"""Monitors and their schedules.

monitor    starts runs on a schedule over new or changed targets
cadence    the text of a schedule: an interval, or five cron fields in UTC
watermark  how far a monitor has read
"""
