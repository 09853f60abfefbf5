"""Limits while Redis is gone, slow or forgetful: they hold in each process, and Redis comes back.

Real servers are stopped and killed here. What would need exact timing goes over windows that fail
as they are told to.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from adapters.memory.rate_limiter import MemoryRateLimiter
from adapters.redis.client import opened
from adapters.redis.limits import AWAY_S, RedisRateLimiter, RedisWindows
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

    async def decide(self, bucket: str, limit: Limit, *, counts: bool = True) -> Decision:
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
    return sum([(await limiter.admit(bucket, LIMIT)).admitted for _ in range(count)])


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.name == LOG]


# --- how it fails, and how it comes back ---------------------------------------------------------


@pytest.mark.parametrize(
    "error", [RedisError("broken"), ConnectionError(), TimeoutError(), OSError(), ValueError("?")]
)
async def test_whatever_fails_the_limit_holds_and_nothing_is_raised(limiter, windows, error):
    assert await passed(limiter, 6) == 6
    windows.fail = error
    assert await passed(limiter, 20) == 4
    assert limiter.fallbacks == 20


async def test_a_redis_that_never_answers_is_not_waited_for(limiter, windows):
    windows.gate = asyncio.Event()
    async with in_time():
        assert await passed(limiter, 20) == LIMIT.count
    assert windows.asked == 1


async def test_one_outage_is_told_once_and_so_is_its_end(limiter, windows, ticks, caplog):
    caplog.set_level(logging.INFO, LOG)
    for _ in range(2):
        windows.fail = ConnectionError()
        for _ in range(3):
            await passed(limiter, 5)
            ticks.forward(AWAY_S)
        windows.fail = None
        await passed(limiter, 5)
        ticks.forward(AWAY_S)
    assert told(caplog) == ["WARNING", "INFO"] * 2
    assert "ConnectionError" in caplog.text


async def test_redis_that_failed_is_left_alone_for_a_while(limiter, windows, ticks):
    windows.fail = ConnectionError()
    await passed(limiter, 5)
    ticks.forward(AWAY_S - 0.001)
    await passed(limiter, 5)
    assert windows.asked == 1
    ticks.forward(0.001)
    await passed(limiter, 5)
    assert windows.asked == 2


async def test_one_request_looks_whether_redis_is_back_and_the_others_do_not_wait(
    limiter, windows, ticks
):
    windows.fail = ConnectionError()
    await limiter.admit("ours", LIMIT)
    windows.fail, windows.gate = None, asyncio.Event()
    ticks.forward(AWAY_S)
    looking = asyncio.create_task(limiter.admit("ours", LIMIT))
    await asyncio.sleep(0)
    assert await passed(limiter, 20) == 8
    assert not looking.done()
    assert windows.asked == 2
    windows.gate.set()
    assert (await looking).admitted
    fallbacks = limiter.fallbacks
    await passed(limiter, 5)
    assert limiter.fallbacks == fallbacks


async def test_an_answer_from_before_a_failure_is_no_sign_of_life(limiter, windows, ticks):
    gate = windows.gate = asyncio.Event()
    early = asyncio.create_task(limiter.admit("ours", LIMIT))
    await asyncio.sleep(0)
    windows.gate, windows.fail = None, ConnectionError()
    await limiter.admit("ours", LIMIT)
    windows.fail = None
    gate.set()
    await early
    await passed(limiter, 5)
    assert windows.asked == 2


async def test_a_request_that_is_given_up_leaves_no_trace_but_its_place(limiter, windows):
    windows.gate = asyncio.Event()
    asking = asyncio.create_task(limiter.admit("ours", LIMIT))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    windows.gate = None
    assert await passed(limiter, 20) == 9
    assert limiter.fallbacks == 0


# --- two windows, one answer ---------------------------------------------------------------------


async def test_what_redis_refuses_takes_no_place_here(limiter, windows, ticks):
    for _ in range(LIMIT.count):
        windows.histories["ours"].admit(LIMIT, ticks())  # by another process
    assert await passed(limiter, 30) == 0
    windows.fail = ConnectionError()
    assert await passed(limiter, 30) == LIMIT.count


async def test_what_is_refused_here_takes_no_place_in_redis(limiter, windows):
    assert await passed(limiter, 10) == 10
    windows.histories.clear()
    assert await passed(limiter, 10) == 0
    assert len(windows.histories["ours"]) == 0


@pytest.mark.parametrize(("redis_s", "wait_s"), [(-5, 60), (0, 60), (5, 65)])
async def test_the_longer_wait_is_told(limiter, windows, ticks, redis_s, wait_s):
    one = Limit(1, "minute")
    assert (await limiter.admit("ours", one)).admitted
    windows.histories["ours"] = SlidingWindow()
    windows.histories["ours"].admit(one, ticks() + redis_s * SECOND_US)
    assert (await limiter.admit("ours", one)).retry_after_s == wait_s


@given(st.data(), limits)
async def test_whatever_becomes_of_redis_no_window_admits_more(data, limit):
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
        decision = await limiter.admit("ours", limit)
        assert decision == alone.admit(limit, ticks())


@given(st.data(), limits)
async def test_two_processes_share_while_redis_is_there(data, limit):
    ticks = Hands()
    windows, together = Windows(ticks), SlidingWindow()
    processes = [RedisRateLimiter(windows, MemoryRateLimiter(ticks), ticks) for _ in range(2)]
    for step_us in data.draw(st.lists(steps_us(limit), max_size=40)):
        ticks.now_us += step_us
        process = data.draw(st.sampled_from(processes))
        assert await process.admit("ours", limit) == together.admit(limit, ticks())


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
        limiter = RedisRateLimiter(RedisWindows(client), MemoryRateLimiter(ticks), ticks)
        await back(limiter, ticks)
        yield limiter, client


async def back(limiter: RedisRateLimiter, ticks: Hands) -> None:
    """Returns once Redis is asked again, and answers: by itself, but for the time it takes."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_MAX_S
    while True:
        before = limiter.fallbacks
        ticks.forward(AWAY_S)
        await limiter.admit(f"probe:{uuid.uuid4()}", LIMIT)
        if limiter.fallbacks == before:
            return
        assert loop.time() < end, "it doesn't come back"
        await asyncio.sleep(0.05)


@pytest.mark.service
async def test_a_paused_server_is_not_waited_for_and_comes_back(valkey, ticks, caplog):
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
async def test_many_at_once_get_the_limit_from_a_server_that_pauses(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, _):
        with valkey.paused():
            asked = await asyncio.gather(*(limiter.admit("ours", LIMIT) for _ in range(200)))
        assert sum(one.admitted for one in asked) == LIMIT.count
        await back(limiter, ticks)


@pytest.mark.service
async def test_a_killed_server_that_comes_back_empty_gives_no_second_helping(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, _):
        assert await passed(limiter, 4) == 4
        valkey.kill()
        assert await passed(limiter, 3) == 3
        valkey.start_again()
        await back(limiter, ticks)
        assert await passed(limiter, 20) == 3


@pytest.mark.service
async def test_a_server_that_forgets_everything_is_taught_again_and_gives_no_more(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, client):
        assert await passed(limiter, 4) == 4
        await client.flushall()
        await client.script_flush()
        assert await passed(limiter, 20) == 6
        await client.script_flush()
        await back(limiter, ticks)


@pytest.mark.service
async def test_a_server_that_takes_no_writes_is_as_good_as_gone(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, client):
        assert await passed(limiter, 4) == 4
        await client.config_set("maxmemory", 1)
        assert await passed(limiter, 20) == 6
        assert limiter.fallbacks > 0
        await client.config_set("maxmemory", 0)
        await back(limiter, ticks)


@pytest.mark.service
async def test_a_key_of_another_kind_is_as_good_as_no_redis(valkey, ticks):
    async with limiting(valkey, ticks) as (limiter, client):
        await client.set("limit:ours", "something else")
        assert await passed(limiter, 20) == LIMIT.count
