"""Requesting, planning, retrying and cancelling runs."""
