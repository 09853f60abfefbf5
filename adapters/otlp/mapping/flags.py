"""Flags: what a reader of a mapped span should know of the mapping, in its `metadata.otel`."""

from enum import StrEnum


class Flag(StrEnum):
    CLOCK_SKEW = "clock_skew"  # it ended before it started
    TRUNCATED = "truncated"  # a name, a label or a list was cut
    COERCED = "coerced"  # a value of a wrong type was converted or dropped
    KIND_UNKNOWN = "kind_unknown"
    USAGE_ASSUMED = "usage_assumed"  # nothing says whether the totals contain their parts
    OVERSIZE_ID = "oversize_id"  # an id was too long, and is null
    SETUP = "setup"  # the span only creates an agent
    START_ONLY = "start_only"  # the end wasn't sent
