"""Latency histogram: bins of two significant digits, so that a range has few bins.

A bin is named by its smallest latency in microseconds: 0 to 99 one each, then 100, 110, 120 up to
990, 1,000, 1,100 and so on: ninety for each power of ten.
"""

from dataclasses import dataclass
from typing import Final

_EXACT_BINS: Final = 100  # below this each value has its own bin


def bin_start(latency_us: int) -> int:
    """The smallest latency of the bin of `latency_us`, which is 0 or more."""
    step = _bin_width(latency_us)
    return latency_us // step * step


def _bin_width(latency_us: int) -> int:
    return 1 if latency_us < _EXACT_BINS else 10 ** (len(str(latency_us)) - 2)


@dataclass(frozen=True, slots=True)
class SplitRange:
    """`whole`: the first bin, and the bin after the last one.

    `cuts`: partial bins as ranges, both ends included.
    """

    whole: tuple[int, int]
    cuts: tuple[tuple[int, int], ...]


def split_range(low: int, high: int) -> SplitRange:
    """Splits a range of latencies, both ends included, into whole and partial bins."""
    start = max(low, 0)
    first = bin_start(start)
    if first < start:
        first += _bin_width(start)
    end = bin_start(max(high + 1, 0))
    if high < 0 or end < first:
        return SplitRange((0, 0), ((low, high),) if low <= high else ())
    cuts = ((low, first - 1), (end, high))
    return SplitRange((first, end), tuple(one for one in cuts if one[0] <= one[1]))
