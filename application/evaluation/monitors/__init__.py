"""Managing monitors, and the scheduler that starts their runs."""
