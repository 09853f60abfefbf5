"""The bins of a latency histogram as one number, so that PostgreSQL adds them all at once.

Each bin has BIN_DIGITS decimal digits, the first bin the last ones. The digits of a bin never
overflow: a project has fewer spans.
"""

from collections.abc import Mapping
from typing import Final

BIN_DIGITS: Final = 10
_NO_SPANS: Final = "0" * BIN_DIGITS


def pack_bins(bins: Mapping[int, int]) -> str:
    """The text of a number for the column `latency_bins`; counts may be negative in a sum."""
    if not bins:
        return "0"
    first, last = min(bins), max(bins)
    if min(bins.values()) >= 0:
        counts = (f"{bins.get(bin_, 0):0{BIN_DIGITS}}" for bin_ in range(last, first - 1, -1))
        return f"{''.join(counts)}E{BIN_DIGITS * first}"
    number = sum(count * 10 ** (BIN_DIGITS * (bin_ - first)) for bin_, count in bins.items())
    return f"{number}E{BIN_DIGITS * first}"


def unpack_bins(number: str) -> dict[int, int]:
    """The counts of the bins that aren't empty, of the digits of a sum."""
    digits = number.rstrip("0")
    first = (len(number) - len(digits)) // BIN_DIGITS
    digits = number[: len(number) - BIN_DIGITS * first]
    digits = digits.zfill(-(-len(digits) // BIN_DIGITS) * BIN_DIGITS)
    starts = range(len(digits) - BIN_DIGITS, -1, -BIN_DIGITS)
    counts = (digits[start : start + BIN_DIGITS] for start in starts)
    return {bin_: int(one) for bin_, one in enumerate(counts, start=first) if one != _NO_SPANS}
