"""Latencies counted by size: bins of two significant digits, so that a range has few of them.

A bin is named by its least latency in microseconds: 0 to 99 one each, then 100, 110, 120 up to
990, 1,000, 1,100 and so on: ninety to a power of ten. Negative latencies have no bin.
"""

from dataclasses import dataclass
from typing import Final

_ONES: Final = 100  # below it each number is a bin


def bin_of(latency_us: int) -> int:
    """The least latency of the bin that `latency_us`, 0 or more, lies in."""
    step = _step(latency_us)
    return latency_us // step * step


def _step(latency_us: int) -> int:
    return 1 if latency_us < _ONES else 10 ** (len(str(latency_us)) - 2)


@dataclass(frozen=True, slots=True)
class BinnedRange:
    """`whole`: the first bin and the one after the last; `cuts`: ranges, both ends included."""

    whole: tuple[int, int]
    cuts: tuple[tuple[int, int], ...]


def binned(low: int, high: int) -> BinnedRange:
    """A range of latencies, both ends included, as whole bins and what is cut off beside them."""
    start = max(low, 0)
    first = bin_of(start)
    if first < start:
        first += _step(start)
    end = bin_of(max(high + 1, 0))
    if high < 0 or end < first:
        return BinnedRange((0, 0), ((low, high),) if low <= high else ())
    cuts = ((low, first - 1), (end, high))
    return BinnedRange((first, end), tuple(one for one in cuts if one[0] <= one[1]))
