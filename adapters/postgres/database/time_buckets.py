"""A period as whole buckets, which are counted already, and the parts cut off at its ends."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.tracing.analytics import Granularity

STEPS: Final = {
    Granularity.HOUR: timedelta(hours=1),
    Granularity.DAY: timedelta(days=1),
    Granularity.WEEK: timedelta(weeks=1),
}

type Bounds = tuple[datetime | None, datetime | None]
"""The first instant, and the first that isn't in it any more; None where there is no bound."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`whole`: the bounds of the starts of whole buckets, None where there is none.

    `cuts`: at most two further ranges, each within one bucket and with a first instant.
    """

    whole: Bounds | None
    cuts: tuple[Bounds, ...]


def parts(bounds: Bounds, granularity: Granularity) -> Parts:
    """What `bounds` hold, each instant once; nothing where they are crossed."""
    after, before = bounds
    if after is not None and before is not None and after >= before:
        return Parts(None, ())
    first = after if after is None else _next(after, granularity)
    end = before if before is None else granularity.bucket(before)
    if after is not None and (first is None or (end is not None and end < first)):
        return Parts(None, (bounds,))
    cuts: list[Bounds] = []
    if first != after:
        cuts.append((after, first))
    if end != before:
        cuts.append((end, before))
    return Parts(None if end is not None and first == end else (first, end), tuple(cuts))


def _next(instant: datetime, granularity: Granularity) -> datetime | None:
    """The first start of a bucket from `instant` on; None beyond the last that Python knows."""
    start = granularity.bucket(instant)
    try:
        return start if start == instant else start + STEPS[granularity]
    except OverflowError:
        return None
