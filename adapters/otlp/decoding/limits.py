"""Limits of a span or record, the same in both wire types."""

from typing import Final

LEVELS_MAX: Final = 32  # arrays and key-value lists within each other
ATTRIBUTES_MAX: Final = 10_000  # of a span or record
EVENTS_MAX: Final = 10_000
LINKS_MAX: Final = 10_000

# Attributes, events, links, values, arrays and lists of a span in all: what is an object in JSON.
# Each takes up to 200 bytes of memory while it is decoded, and two bytes in a request, so that a
# body of 64 MiB could take gigabytes.
NODES_MAX: Final = 200_000

# Smaller spans are decoded without being measured first: they can't have much in them.
MEASURED_BYTES: Final = 64 << 10


class TooDeep(ValueError):  # noqa: N818 - an error of the client, not of ours
    """Values are nested deeper than LEVELS_MAX."""
