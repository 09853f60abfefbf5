"""Splits a period into whole buckets, which roll-ups count, and partial buckets at its ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.tracing.analytics import BUCKET_WIDTHS, Granularity, Period

type Bounds = tuple[datetime | None, datetime | None]
"""The start, inclusive, and the end, exclusive; None means unbounded."""


@dataclass(frozen=True, slots=True)
class SplitPeriod:
    """`whole`: start and end of the whole buckets, or None if there are none.

    `cuts`: at most two further ranges. Each lies within one bucket and has a start.
    """

    whole: Bounds | None
    cuts: tuple[Bounds, ...]


def split_period(bounds: Bounds, granularity: Granularity) -> SplitPeriod:
    """Splits `bounds` so that every instant is in exactly one part.

    Empty if the start is after the end.
    """
    after, before = bounds
    if after is not None and before is not None and after >= before:
        return SplitPeriod(None, ())
    first = after if after is None else _next(after, granularity)
    end = before if before is None else granularity.bucket(before)
    if after is not None and (first is None or (end is not None and end < first)):
        return SplitPeriod(None, (bounds,))
    cuts: list[Bounds] = []
    if first != after:
        cuts.append((after, first))
    if end != before:
        cuts.append((end, before))
    return SplitPeriod(None if end is not None and first == end else (first, end), tuple(cuts))


def split_edges(edges: Sequence[datetime], period: Period) -> SplitPeriod:
    """As `split_period`, for the buckets of a period, whose `edges` are as of `bucket_edges`."""
    whole = [edge for edge in edges if period.after <= edge <= period.before]
    if not whole:
        return SplitPeriod(None, ((period.after, period.before),) if edges else ())
    cuts: list[Bounds] = []
    if whole[0] != period.after:
        cuts.append((period.after, whole[0]))
    if whole[-1] != period.before:
        cuts.append((whole[-1], period.before))
    return SplitPeriod((whole[0], whole[-1]) if len(whole) > 1 else None, tuple(cuts))


def _next(instant: datetime, granularity: Granularity) -> datetime | None:
    """The first bucket start at or after `instant`, or None if Python cannot represent it."""
    start = granularity.bucket(instant)
    try:
        return start if start == instant else start + BUCKET_WIDTHS[granularity]
    except OverflowError:
        return None
