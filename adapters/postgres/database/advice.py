"""Endings of timeout messages: how the caller can make the read faster."""

from typing import Final

RETRY_LATER: Final = "try again later"
ASK_FOR_FEWER: Final = "ask for fewer, or try again later"
NARROW_BY_DATE: Final = "narrow date_from and date_to"
NARROW_BY_STATUS: Final = "narrow the list with status, or try again later"
