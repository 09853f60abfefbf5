"""The rate limiter of one process: `domain.limits` over bounded dicts.

A process also falls back on it while Redis is unavailable.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from application.ports import Admission, MonotonicClock
from domain.limits import Decision, Limit, SlidingWindow

# Buckets of one limit with counted requests: about 1 KB each if they hold little.
BUCKETS_MAX: Final = 32_768
SHARED_BUCKETS: Final = 1_024  # windows that further buckets share
SWEPT_PER_REQUEST: Final = 2  # more are removed than can be added, so expired windows never pile up


def monotonic_us() -> int:
    return time.monotonic_ns() // 1_000


class MemoryRateLimiter:
    """Each limit has at most BUCKETS_MAX windows that belong to one bucket.

    A window without counted requests is dropped, which loses nothing. A window with counted
    requests never is: otherwise a client with many addresses could reset its busy bucket by one
    request from each address. When all are taken, a further bucket shares one of SHARED_BUCKETS
    windows, chosen by a hash that clients cannot predict. Sharing buckets may be refused early, but
    never admitted too often; filling the shared windows takes SHARED_BUCKETS times the limit within
    one window.
    """

    def __init__(self, ticks: MonotonicClock, buckets_max: int = BUCKETS_MAX) -> None:
        self._ticks = ticks
        self._buckets_max = buckets_max
        self._buckets: dict[Limit, _Buckets] = {}  # as many as the settings define

    async def admit(self, buckets: Mapping[str, Limit]) -> Decision:
        return self.admit_at_once(buckets)[0]

    def admit_at_once(self, buckets: Mapping[str, Limit]) -> tuple[Decision, Admission]:
        """As `admit`, without await; also returns by what to take the request back."""
        now_us = self._ticks()
        decisions: list[Decision] = []
        admission: list[tuple[str, Limit, int]] = []
        for bucket, limit in buckets.items():
            history = self._of(limit).history(bucket, now_us)
            decisions.append(history.admit(limit, now_us))
            if decisions[-1].admitted:
                admission.append((bucket, limit, history.newest_us))
        decision = min(decisions, key=Decision.strictness)
        if not decision.admitted:
            self.take_back(admission)
            admission.clear()
        return decision, admission

    def take_back(self, admission: Admission) -> None:
        """Stops counting an admitted request, because another limit refused it."""
        for bucket, limit, at_us in admission:
            self._of(limit).take_back(bucket, at_us)

    def __len__(self) -> int:
        """The number of windows."""
        return sum(map(len, self._buckets.values()))

    def _of(self, limit: Limit) -> "_Buckets":
        found = self._buckets.get(limit)
        if found is None:
            found = self._buckets[limit] = _Buckets(limit, self._buckets_max)
        return found


class _Buckets:
    """The buckets of one limit, least recently used first."""

    def __init__(self, limit: Limit, own_max: int) -> None:
        self._limit = limit
        self._own_max = own_max
        self._own: OrderedDict[str, SlidingWindow] = OrderedDict()
        self._shared: dict[int, SlidingWindow] = {}

    def __len__(self) -> int:
        return len(self._own) + len(self._shared)

    def history(self, bucket: str, now_us: int) -> SlidingWindow:
        """The window in which a request of `bucket` at `now_us` counts."""
        found = self._own.get(bucket)
        if found is not None:
            self._own.move_to_end(bucket)
            return found
        self._sweep(now_us)
        # While the shared window has counted requests, some may be of this bucket.
        slot = hash(bucket) % SHARED_BUCKETS
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
            history = self._shared.get(hash(bucket) % SHARED_BUCKETS)
        if history is not None:
            history.take_back(at_us)

    def _sweep(self, now_us: int) -> None:
        for _ in range(min(SWEPT_PER_REQUEST, len(self._own))):
            bucket = next(iter(self._own))
            if self._own[bucket].counts_at(self._limit, now_us):
                return
            del self._own[bucket]
