"""Token buckets of one process, which also falls back on them while Redis is unavailable."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from application.ports import MonotonicClock
from domain.token_buckets import TokenBucket

BUCKETS_MAX: Final = 32_768  # of about 200 bytes
SWEPT_PER_CHARGE: Final = 2  # more are removed than are added, so full ones don't pile up


class MemoryTokenBuckets:
    """A full bucket is dropped, which loses nothing.

    Beyond BUCKETS_MAX the bucket that was charged least recently is dropped: buckets belong to keys
    and people, so that no client can have as many.
    """

    def __init__(self, ticks: MonotonicClock, buckets_max: int = BUCKETS_MAX) -> None:
        self._ticks = ticks
        self._buckets_max = buckets_max
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()  # last charged last

    async def wait_us(self, buckets: Sequence[str]) -> int:
        return self.wait_us_at_once(buckets)

    async def charge(self, costs_us: Mapping[str, int]) -> None:
        self.charge_at_once(costs_us)

    def wait_us_at_once(self, buckets: Sequence[str]) -> int:
        now_us = self._ticks()
        known = (self._buckets.get(bucket) for bucket in buckets)
        return max((one.wait_us(now_us) for one in known if one is not None), default=0)

    def charge_at_once(self, costs_us: Mapping[str, int]) -> None:
        now_us = self._ticks()
        for bucket, cost in costs_us.items():
            self._sweep(now_us)
            if cost:  # otherwise it stays full
                self._buckets.setdefault(bucket, TokenBucket()).charge(cost, now_us)
                self._buckets.move_to_end(bucket)
        while len(self._buckets) > self._buckets_max:
            self._buckets.popitem(last=False)

    def __len__(self) -> int:
        return len(self._buckets)

    def _sweep(self, now_us: int) -> None:
        for _ in range(min(SWEPT_PER_CHARGE, len(self._buckets))):
            bucket = next(iter(self._buckets))
            if not self._buckets[bucket].is_full(now_us):
                return
            del self._buckets[bucket]
