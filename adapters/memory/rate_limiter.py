"""The rate limiter of one process: `domain.limits` over bounded dicts.

Also what a process falls back on while Redis is away.
"""

import time
from collections import OrderedDict
from typing import Final

from application.ports import MonotonicClock
from domain.limits import Decision, Limit, SlidingWindow

# Buckets of one limit in which something counts: about 1 KB each while they hold little.
BUCKETS_MAX: Final = 32_768
SHARED: Final = 1_024  # what all buckets beyond them have in common
SWEEP: Final = 2  # more go than can come, so what no longer counts never piles up


def monotonic_us() -> int:
    return time.monotonic_ns() // 1_000


class MemoryRateLimiter:
    """Each limit has at most BUCKETS_MAX histories of its own buckets.

    One in which nothing counts any more is dropped, which loses nothing. One in which something
    counts never is: whoever has many addresses could else start their busy bucket anew by asking
    once from each. When all are taken, a bucket without one shares one of SHARED with others,
    chosen by a hash that nobody outside can predict. Sharers may be refused early, never admitted
    too often; to fill what is shared takes SHARED times the limit in one window.
    """

    def __init__(self, ticks: MonotonicClock, buckets_max: int = BUCKETS_MAX) -> None:
        self._ticks = ticks
        self._buckets_max = buckets_max
        self._buckets: dict[Limit, _Buckets] = {}  # as many as the settings name

    async def admit(self, bucket: str, limit: Limit) -> Decision:
        return self.admit_at_once(bucket, limit)[0]

    def admit_at_once(self, bucket: str, limit: Limit) -> tuple[Decision, int]:
        """As `admit`, without waiting; and the instant by which it can be taken back."""
        now_us = self._ticks()
        history = self._of(limit).history(bucket, now_us)
        decision = history.admit(limit, now_us)
        return decision, history.newest_us

    def take_back(self, bucket: str, limit: Limit, at_us: int) -> None:
        """Counts no longer what was admitted at `at_us`: somebody else refused it."""
        self._of(limit).take_back(bucket, at_us)

    def __len__(self) -> int:
        """How many histories are kept."""
        return sum(map(len, self._buckets.values()))

    def _of(self, limit: Limit) -> "_Buckets":
        found = self._buckets.get(limit)
        if found is None:
            found = self._buckets[limit] = _Buckets(limit, self._buckets_max)
        return found


class _Buckets:
    """The buckets of one limit, the one that was asked for least recently first."""

    def __init__(self, limit: Limit, own_max: int) -> None:
        self._limit = limit
        self._own_max = own_max
        self._own: OrderedDict[str, SlidingWindow] = OrderedDict()
        self._shared: dict[int, SlidingWindow] = {}

    def __len__(self) -> int:
        return len(self._own) + len(self._shared)

    def history(self, bucket: str, now_us: int) -> SlidingWindow:
        """Where a request of `bucket` counts at `now_us`."""
        found = self._own.get(bucket)
        if found is not None:
            self._own.move_to_end(bucket)
            return found
        self._sweep(now_us)
        # As long as something counts there, some of it may be this bucket's.
        slot = hash(bucket) % SHARED
        shared = self._shared.get(slot)
        if shared is not None:
            if shared.counts_at(self._limit, now_us):
                return shared
            del self._shared[slot]
        if len(self._own) < self._own_max:
            return self._own.setdefault(bucket, SlidingWindow())
        return self._shared.setdefault(slot, SlidingWindow())

    def take_back(self, bucket: str, at_us: int) -> None:
        history = self._own.get(bucket)
        if history is None:
            history = self._shared.get(hash(bucket) % SHARED)
        if history is not None:
            history.take_back(at_us)

    def _sweep(self, now_us: int) -> None:
        for _ in range(min(SWEEP, len(self._own))):
            bucket = next(iter(self._own))
            if self._own[bucket].counts_at(self._limit, now_us):
                return
            del self._own[bucket]
