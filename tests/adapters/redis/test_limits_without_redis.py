"""Limits while Redis is gone, slow or forgetful: they hold in each process, and Redis comes back.

Real servers are stopped and killed here. What would need exact timing goes over windows that fail
as they are told to.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from adapters.memory.rate_limiter import MemoryRateLimiter
from adapters.redis.client import opened
from adapters.redis.limits import RETRY_AFTER_S, RedisRateLimiter, RedisSlidingWindows
from domain.limits import SECOND_US, Decision, Limit, SlidingWindow
from tests.support.builders.strategies import limits, steps_us
from tests.support.fixtures.valkey_server import Valkey
from tests.support.waiting import WAIT_MAX_S, in_time

LIMIT = Limit(10, "day")
LOG = "adapters.redis.limits"


class Hands:
    """Ticks that are set."""

    def __init__(self) -> None:
        self.now_us = 1_000 * SECOND_US

    def __call__(self) -> int:
        return self.now_us

    def forward(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND_US)


class Windows:
    """Redis as it should be, until it is told to fail, to forget, or to wait."""

    def __init__(self, ticks: Hands) -> None:
        self.ticks = ticks
        self.asked = 0
        self.fail: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.histories: defaultdict[str, SlidingWindow] = defaultdict(SlidingWindow)

    async def decide(self, buckets: Mapping[str, Limit], *, counts: bool = True) -> Decision:
        [(bucket, limit)] = buckets.items()
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        decision = self.histories[bucket].admit(limit, self.ticks())
        if decision.admitted and not counts:
            self.histories[bucket].take_back(self.ticks())
        return decision


@pytest.fixture
def ticks() -> Hands:
    return Hands()


@pytest.fixture
def windows(ticks: Hands) -> Windows:
    return Windows(ticks)


@pytest.fixture
def limiter(windows: Windows, ticks: Hands) -> RedisRateLimiter:
    return RedisRateLimiter(windows, MemoryRateLimiter(ticks), ticks)


async def passed(limiter: RedisRateLimiter, count: int, bucket: str = "ours") -> int:
    """How many of so many requests, one after the other, are admitted."""
    return sum([(await limiter.admit({bucket: LIMIT})).admitted for _ in range(count)])


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.name == LOG]


# --- how it fails, and how it comes back ---------------------------------------------------------


@pytest.mark.parametrize(
    "error", [RedisError("broken"), ConnectionError(), TimeoutError(), OSError(), ValueError("?")]
)
async def test_limit_holds_when_redis_fails(limiter, windows, error):
    assert await passed(limiter, 6) == 6
    windows.fail = error
    assert await passed(limiter, 20) == 4
    assert limiter.fallbacks == 20


async def test_silent_redis_times_out(limiter, windows):
    windows.gate = asyncio.Event()
    async with in_time():
        assert await passed(limiter, 20) == LIMIT.count
    assert windows.asked == 1


async def test_outage_and_its_end_are_logged_once(limiter, windows, ticks, caplog):
    caplog.set_level(logging.INFO, LOG)
    for _ in range(2):
        windows.fail = ConnectionError()
        for _ in range(3):
            await passed(limiter, 5)
            ticks.forward(RETRY_AFTER_S)
        windows.fail = None
        await passed(limiter, 5)
        ticks.forward(RETRY_AFTER_S)
    assert told(caplog) == ["WARNING", "INFO"] * 2
    assert "ConnectionError" in caplog.text


async def test_redis_is_not_tried_for_a_while_after_a_failure(limiter, windows, ticks):
    windows.fail = ConnectionError()
    await passed(limiter, 5)
    ticks.forward(RETRY_AFTER_S - 0.001)
    await passed(limiter, 5)
    assert windows.asked == 1
    ticks.forward(0.001)
    await passed(limiter, 5)
    assert windows.asked == 2


async def test_one_request_probes_redis_and_others_do_not_wait(limiter, windows, ticks):
    windows.fail = ConnectionError()
    await limiter.admit({"ours": LIMIT})
    windows.fail, windows.gate = None, asyncio.Event()
    ticks.forward(RETRY_AFTER_S)
    looking = asyncio.create_task(limiter.admit({"ours": LIMIT}))
    await asyncio.sleep(0)
    assert await passed(limiter, 20) == 8
    assert not looking.done()
    assert windows.asked == 2
    windows.gate.set()
    assert (await looking).admitted
    fallbacks = limiter.fallbacks
    await passed(limiter, 5)
    assert limiter.fallbacks == fallbacks


async def test_late_answer_does_not_end_an_outage(limiter, windows, ticks):
    gate = windows.gate = asyncio.Event()
    early = asyncio.create_task(limiter.admit({"ours": LIMIT}))
    await asyncio.sleep(0)
    windows.gate, windows.fail = None, ConnectionError()
    await limiter.admit({"ours": LIMIT})
    windows.fail = None
    gate.set()
    await early
    await passed(limiter, 5)
    assert windows.asked == 2


async def test_cancelled_request_still_counts(limiter, windows):
    windows.gate = asyncio.Event()
    asking = asyncio.create_task(limiter.admit({"ours": LIMIT}))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    windows.gate = None
    assert await passed(limiter, 20) == 9
    assert limiter.fallbacks == 0


# --- two windows, one answer ---------------------------------------------------------------------


async def test_request_refused_by_redis_does_not_count_locally(limiter, windows, ticks):
    for _ in range(LIMIT.count):
        windows.histories["ours"].admit(LIMIT, ticks())  # by another process
    assert await passed(limiter, 30) == 0
    windows.fail = ConnectionError()
    assert await passed(limiter, 30) == LIMIT.count


async def test_request_refused_locally_does_not_count_in_redis(limiter, windows):
    assert await passed(limiter, 10) == 10
    windows.histories.clear()
    assert await passed(limiter, 10) == 0
    assert len(windows.histories["ours"]) == 0


@pytest.mark.parametrize(("redis_s", "wait_s"), [(-5, 60), (0, 60), (5, 65)])
async def test_longer_wait_is_returned(limiter, windows, ticks, redis_s, wait_s):
    one = Limit(1, "minute")
    assert (await limiter.admit({"ours": one})).admitted
    windows.histories["ours"] = SlidingWindow()
    windows.histories["ours"].admit(one, ticks() + redis_s * SECOND_US)
    assert (await limiter.admit({"ours": one})).retry_after_s == wait_s


@given(st.data(), limits)
async def test_window_never_exceeds_limit_during_outage(data, limit):
    """In one process, through any history of outages, and of what Redis forgets."""
    ticks = Hands()
    windows = Windows(ticks)
    limiter = RedisRateLimiter(windows, MemoryRateLimiter(ticks), ticks)
    alone = SlidingWindow()
    for step_us in data.draw(st.lists(steps_us(limit), max_size=40)):
        ticks.now_us += step_us
        match data.draw(st.sampled_from(["", "", "", "lost", "back", "flushed"])):
            case "lost":
                windows.fail = ConnectionError()
            case "back":
                windows.fail = None
            case "flushed":
                windows.histories.clear()
        decision = await limiter.admit({"ours": limit})
        assert decision == alone.admit(limit, ticks())


@given(st.data(), limits)
async def test_processes_share_the_limit_while_redis_answers(data, limit):
    ticks = Hands()
    windows, together = Windows(ticks), SlidingWindow()
    processes = [RedisRateLimiter(windows, MemoryRateLimiter(ticks), ticks) for _ in range(2)]
    for step_us in data.draw(st.lists(steps_us(limit), max_size=40)):
        ticks.now_us += step_us
        process = data.draw(st.sampled_from(processes))
        assert await process.admit({"ours": limit}) == together.admit(limit, ticks())


# --- real servers --------------------------------------------------------------------------------


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path)
    yield server
    server.child.stop()


@contextlib.asynccontextmanager
async def limiting(valkey: Valkey, ticks: Hands):
    """A limiter over this server; it has been asked."""
    async with opened(valkey.url) as client:
        limiter = RedisRateLimiter(RedisSlidingWindows(client), MemoryRateLimiter(ticks), ticks)
        await back(limiter, ticks)
        yield limiter, client


async def back(limiter: RedisRateLimiter, ticks: Hands) -> None:
    """Returns once Redis is asked again, and answers: by itself, but for the time it takes."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_MAX_S
    while True:
        before = limiter.fallbacks
        ticks.forward(RETRY_AFTER_S)
        await limiter.admit({f"probe:{uuid.uuid4()}": LIMIT})
        if limiter.fallbacks == before:
            return
        assert loop.time() < end, "it doesn't come back"
        await asyncio.sleep(0.05)


@pytest.mark.service
async def test_paused_server_times_out_and_recovers(valkey, ticks, caplog):
    async with limiting(valkey, ticks) as (limiter, _):
        caplog.set_level(logging.INFO, LOG)
        assert await passed(limiter, 4) == 4
        with valkey.paused():
            assert await passed(limiter, 20) == 6
            assert limiter.fallbacks >= 20
        await back(limiter, ticks)
        assert await passed(limiter, 5) == 0
        assert told(caplog)[:1] == ["WARNING"]
        assert told(caplog)[-1:] == ["INFO"]


@pytest.mark.service
async def test_concurrent_requests_get_the_limit_during_a_pause(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, _):
        with valkey.paused():
            asked = await asyncio.gather(*(limiter.admit({"ours": LIMIT}) for _ in range(200)))
        assert sum(one.admitted for one in asked) == LIMIT.count
        await back(limiter, ticks)


@pytest.mark.service
async def test_server_restarted_empty_admits_no_more(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, _):
        assert await passed(limiter, 4) == 4
        valkey.kill()
        assert await passed(limiter, 3) == 3
        valkey.start_again()
        await back(limiter, ticks)
        assert await passed(limiter, 20) == 3


@pytest.mark.service
async def test_flushed_server_reloads_the_script_and_admits_no_more(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, client):
        assert await passed(limiter, 4) == 4
        await client.flushall()
        await client.script_flush()
        assert await passed(limiter, 20) == 6
        await client.script_flush()
        await back(limiter, ticks)


@pytest.mark.service
async def test_read_only_server_counts_as_down(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, client):
        assert await passed(limiter, 4) == 4
        await client.config_set("maxmemory", 1)
        assert await passed(limiter, 20) == 6
        assert limiter.fallbacks > 0
        await client.config_set("maxmemory", 0)
        await back(limiter, ticks)


@pytest.mark.service
async def test_key_of_wrong_type_counts_as_down(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, client):
        await client.set("limit:ours", "something else")
        assert await passed(limiter, 20) == LIMIT.count
