"""Limits of volume: bytes and spans per second of each key or person, instead of requests.

Exporters send small and large batches, many at once, and drop what is refused for too long. So
requests aren't counted: each is admitted while both buckets have something, and pays afterwards.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from application.ports import TokenBuckets
from domain.errors import LimitExceeded
from domain.limits import SECOND_US
from domain.token_buckets import cost_us
from entrypoints.http.middleware.load_shedding import delay_refusal
from entrypoints.http.middleware.observer_ports import RequestObserver
from entrypoints.http.middleware.otlp_errors import RETRY_AFTER_MAX_S

VOLUME_CLASS: Final = "otlp"  # a value in the metric of decisions, as the classes of routes are


@dataclass(frozen=True, slots=True)
class VolumeLimits:
    """The rates at which the two buckets of each principal refill."""

    buckets: TokenBuckets
    bytes_per_second: int
    spans_per_second: int  # and log records
    observer: RequestObserver | None = None

    async def admit(self, scope: MutableMapping[str, Any], principal: str) -> None:
        """Raises LimitExceeded with the time until both buckets have something."""
        wait_us = await self.buckets.wait_us(_names(principal))
        if self.observer is not None:
            self.observer.rate_limit_decided(VOLUME_CLASS, admitted=not wait_us)
        if wait_us:
            await delay_refusal(scope)
            raise LimitExceeded(
                f"Rate limit exceeded: {self.bytes_per_second:,} bytes or "
                f"{self.spans_per_second:,} spans and log records per second",
                retry_after_s=min(-(-wait_us // SECOND_US), RETRY_AFTER_MAX_S),
            )

    async def charge(self, principal: str, size: int, spans: int) -> None:
        """Subtracts an inflated body of `size` bytes with so many spans or log records."""
        costs = cost_us(size, self.bytes_per_second), cost_us(spans, self.spans_per_second)
        await self.buckets.charge(dict(zip(_names(principal), costs, strict=True)))


def _names(principal: str) -> tuple[str, str]:
    return f"bytes:{principal}", f"spans:{principal}"
