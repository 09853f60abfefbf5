"""Measures the cost of counting a request with each limiter.

Prints Markdown.

    python -m tests.benchmarks.limiter

Sequential calls, each timed, on uvloop as in `serve`; Redis is an embedded Valkey on the loopback.
*Refused*: the window is full before, so that every call is refused.
"""

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import uvloop

from adapters.embedded.process import free_port
from adapters.embedded.valkey import start_valkey
from adapters.memory.rate_limiter import MemoryRateLimiter, monotonic_us
from adapters.redis.client import opened
from adapters.redis.fallback import RedisFallback
from adapters.redis.limits import RedisRateLimiter, RedisSlidingWindows
from application.ports import RateLimiter
from domain.limits import COUNT_MAX, Limit
from tests.benchmarks.support.folder import bench_folder
from tests.benchmarks.support.load import quantile

CALLS = 20_000
WARM_UP_CALLS = 500
KEYS = 100  # buckets used in turn, as by several callers
AMPLE = Limit(COUNT_MAX, "hour")
FULL = Limit(600, "hour")


async def times(limiter: RateLimiter, limit: Limit, full: bool) -> list[float]:
    """Returns the microseconds of each call; with `full`, all windows are filled before."""
    buckets = [f"key:{n}:{limit}" for n in range(KEYS)]
    for bucket in buckets:
        for _ in range(limit.count if full else WARM_UP_CALLS // KEYS):
            await limiter.admit({bucket: limit})
    durations_us: list[float] = []
    for n in range(CALLS):
        begin = time.perf_counter_ns()
        decision = await limiter.admit({buckets[n % KEYS]: limit})
        durations_us.append((time.perf_counter_ns() - begin) / 1e3)
        assert decision.admitted != full
    return durations_us


@asynccontextmanager
async def over_redis(url: str, on_fallback: Callable[[], None]) -> AsyncIterator[RedisRateLimiter]:
    async with opened(url) as client:
        own, redis = MemoryRateLimiter(monotonic_us), RedisFallback(monotonic_us, on_fallback)
        yield RedisRateLimiter(RedisSlidingWindows(client), own, redis)


def row(label: str, durations_us: list[float]) -> str:
    figures = " | ".join(f"{quantile(durations_us, q):,.0f}" for q in (0.5, 0.95, 0.99))
    return f"| {label} | {figures} |"


async def ping_times(ping: Callable[[], Awaitable[object]]) -> list[float]:
    durations_us: list[float] = []
    for _ in range(CALLS):
        begin = time.perf_counter_ns()
        await ping()
        durations_us.append((time.perf_counter_ns() - begin) / 1e3)
    return durations_us


async def measured(url: str) -> None:
    print("| µs a request | p50 | p95 | p99 |\n|---|---|---|---|", flush=True)
    async with opened(url) as client:
        print(row("PING: the round trip alone", await ping_times(client.ping)), flush=True)
    for label, address in (
        ("Redis", url),
        ("Redis unreachable", f"redis://127.0.0.1:{free_port()}/0"),
    ):
        for state, limit, full in (("admitted", AMPLE, False), ("refused", FULL, True)):
            fallbacks: list[None] = []
            async with over_redis(address, partial(fallbacks.append, None)) as limiter:
                gc.collect()
                durations_us = await times(limiter, limit, full)
                figures = row(f"{label}, {state}", durations_us)
                # After a stall of 0.1 s the limiter doesn't ask Redis for a second: not comparable.
                stalled = fallbacks and address == url
                print(
                    f"| {label}, {state}: stalled, repeat the run | | | |" if stalled else figures
                )


def main() -> None:
    with bench_folder() as folder:
        child, url = start_valkey(folder)
        try:
            uvloop.run(measured(url))
        finally:
            child.stop()


if __name__ == "__main__":
    main()
