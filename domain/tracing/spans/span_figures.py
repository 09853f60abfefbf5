"""Figures of many spans: counts, failures, latencies, tokens and costs, which can be added up.

Latencies are counted in bins, since percentiles of parts can't be combined into that of the whole.
The bins are those of a histogram with a fixed number for each power of ten.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Final, Self

from domain.tracing.span import Span, SpanStatus, elapsed_us
from domain.tracing.usage import EXACT

BINS_PER_DECADE: Final = 40  # a bin is 5.93 % wide, and its bounds are whole microseconds
_FIRST_DECADE, _LAST_DECADE = 2, 11  # from 100 microseconds to 27 hours
BIN_STARTS_US: Final = tuple(
    round(10 ** (_FIRST_DECADE + step / BINS_PER_DECADE))
    for step in range((_LAST_DECADE - _FIRST_DECADE) * BINS_PER_DECADE + 1)
)
"""The smallest latency of each bin but the first, which begins at 0. The last bin has no end."""
CACHED_NAMES_MAX: Final = 10_000  # names repeat, since they say what a step does
ID_PLACEHOLDER: Final = "<id>"
_NAME_ID: Final = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|(?<![0-9a-z])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{12,}(?![0-9a-z])|\d{9,}",
    re.IGNORECASE,
)
_US_PER_MS: Final = 1_000


def latency_bin(latency_us: int) -> int:
    """The number of the bin of a latency, which is 0 or more."""
    return bisect_right(BIN_STARTS_US, latency_us)


@lru_cache(CACHED_NAMES_MAX)
def name_group(name: str) -> str:
    """The name without ids: UUIDs, long hexadecimal values and long numbers.

    Names with ids would be groups of one span each. Dates and versions of models stay.
    """
    return _NAME_ID.sub(ID_PLACEHOLDER, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFigures:
    """Sums over spans. Exact, so that a sum can be subtracted again.

    `latencies` spans have a latency, of `latency_us` in all; `bins` counts them by `latency_bin`.
    Tokens and `cost` are without those of spans with a usage role; `cost` is also without that of
    `unpriced` spans.
    """

    spans: int = 0
    errors: int = 0
    latencies: int = 0
    latency_us: int = 0
    bins: Mapping[int, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    @classmethod
    def from_spans(cls, spans: Iterable[Span]) -> Self:
        """The sums over settled spans."""
        count = errors = latency_sum = prompt = completion = unpriced = 0
        cost = Decimal(0)
        bins = Counter[int]()
        for span in spans:
            count += 1
            errors += span.status is SpanStatus.ERROR
            if (latency := elapsed_us(span.started_at, span.ended_at)) is not None:
                bins[latency_bin(latency)] += 1
                latency_sum += latency
            if span.usage_role is None and span.usage is not None and span.charge is not None:
                prompt += span.usage.prompt_tokens
                completion += span.usage.completion_tokens
                cost = EXACT.add(cost, span.charge.amount)
                unpriced += span.is_unpriced
        return cls(
            spans=count,
            errors=errors,
            latencies=bins.total(),
            latency_us=latency_sum,
            bins=dict(bins),
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=cost,
            unpriced=unpriced,
        )

    @classmethod
    def total(cls, parts: Iterable["SpanFigures"]) -> "SpanFigures":
        """The sum of all parts."""
        all_parts = list(parts)
        if len(all_parts) == 1:  # a group usually has one part in a bucket
            return all_parts[0]
        bins: dict[int, int] = {}
        cost = Decimal(0)
        for one in all_parts:
            for bin_, count in one.bins.items():
                bins[bin_] = bins.get(bin_, 0) + count
            cost = EXACT.add(cost, one.cost)
        return cls(
            spans=sum(one.spans for one in all_parts),
            errors=sum(one.errors for one in all_parts),
            latencies=sum(one.latencies for one in all_parts),
            latency_us=sum(one.latency_us for one in all_parts),
            bins=bins,
            prompt_tokens=sum(one.prompt_tokens for one in all_parts),
            completion_tokens=sum(one.completion_tokens for one in all_parts),
            cost=cost,
            unpriced=sum(one.unpriced for one in all_parts),
        )

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def error_rate(self) -> float | None:
        """The share of spans that failed; None without spans."""
        return self.errors / self.spans if self.spans else None

    @property
    def mean_latency_ms(self) -> float | None:
        """None without a latency."""
        return self.latency_us / (_US_PER_MS * self.latencies) if self.latencies else None

    def latency_percentile_ms(self, share: float) -> float | None:
        """The percentile as `percentile` of analytics defines it; None without a latency.

        Latencies count as spread evenly over their bin, so it is off by at most 6 % and 0.1 ms: the
        share is the width of a bin, and 0.1 ms that of the first one. Those beyond the last bin
        count as at its start.
        """
        if not self.latencies:
            return None
        rank = share * (self.latencies - 1)
        ranks = int(rank), min(int(rank) + 1, self.latencies - 1)
        found, below = list[float](), 0
        for bin_, count in sorted(self.bins.items()):
            start, end = _BIN_RANGES[bin_]
            for one in ranks[len(found) :]:
                if one < below + count:
                    found.append(start + (end - start) * (one - below + 0.5) / count)
            if len(found) == len(ranks):
                break
            below += count
        low, high = found
        return (low + (rank - ranks[0]) * (high - low)) / _US_PER_MS


_BIN_RANGES: Final = tuple(pairwise((0, *BIN_STARTS_US, BIN_STARTS_US[-1])))
