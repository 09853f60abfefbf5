"""The clock of the machine, as most compositions fill the port `Clock`."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
