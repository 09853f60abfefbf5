"""Rate limits while Redis is down, slow or emptied: each process keeps them, and recovers.

Some tests stop and kill real servers. Tests that need exact timing use windows with scripted
failures.
"""

import asyncio
import contextlib
import logging
import socket
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import RedisError

from adapters.memory.rate_limiter import MemoryRateLimiter
from adapters.redis.client import RedisHealthCheck, opened
from adapters.redis.fallback import RETRY_AFTER_S, RedisFallback
from adapters.redis.limits import RedisRateLimiter, RedisSlidingWindows
from application.ports import ADMIT_MAX_S
from domain.limits import SECOND_US, Decision, Limit, SlidingWindow
from tests.support.builders.strategies import limits, steps_us
from tests.support.fakes.clocks import MicrosecondClock
from tests.support.fixtures.servers.valkey_server import Valkey
from tests.support.waiting import WAIT_MAX_S, in_time, until

LIMIT = Limit(10, "day")
LOG = "adapters.redis.fallback"


class FakeRedisWindows:
    """Sliding windows like those in Redis, which can fail, forget or block."""

    def __init__(self, clock: MicrosecondClock) -> None:
        self.clock = clock
        self.calls = 0
        self.fail: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.histories: defaultdict[str, SlidingWindow] = defaultdict(SlidingWindow)

    async def decide(self, buckets: Mapping[str, Limit], *, counts: bool = True) -> Decision:
        [(bucket, limit)] = buckets.items()
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        decision = self.histories[bucket].admit(limit, self.clock())
        if decision.admitted and not counts:
            self.histories[bucket].take_back(self.clock())
        return decision


class CountedFallbacks(RedisFallback):
    """Counts the requests decided without Redis."""

    def __init__(self, clock: MicrosecondClock) -> None:
        self.count = 0
        super().__init__(clock, self.add)

    def add(self) -> None:
        self.count += 1


@pytest.fixture
def clock() -> MicrosecondClock:
    return MicrosecondClock(1_000 * SECOND_US)


@pytest.fixture
def windows(clock: MicrosecondClock) -> FakeRedisWindows:
    return FakeRedisWindows(clock)


@pytest.fixture
def limiter(windows: FakeRedisWindows, clock: MicrosecondClock) -> RedisRateLimiter:
    return limiter_over(windows, clock)


def limiter_over(
    windows: RedisSlidingWindows | FakeRedisWindows, clock: MicrosecondClock
) -> RedisRateLimiter:
    return RedisRateLimiter(windows, MemoryRateLimiter(clock), CountedFallbacks(clock))


async def count_admitted(limiter: RedisRateLimiter, count: int, bucket: str = "ours") -> int:
    """Send requests one after the other. Return how many are admitted."""
    return sum([(await limiter.admit({bucket: LIMIT})).admitted for _ in range(count)])


def logged_levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records if record.name == LOG]


# --- outage and recovery --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [RedisError("broken"), ConnectionError(), TimeoutError(), OSError(), ValueError("?")]
)
async def test_limit_holds_when_redis_fails(limiter, windows, error):
    assert await count_admitted(limiter, 6) == 6
    windows.fail = error
    assert await count_admitted(limiter, 20) == 4
    assert limiter.redis.count == 20


async def test_silent_redis_times_out(limiter, windows):
    windows.gate = asyncio.Event()
    async with in_time():
        assert await count_admitted(limiter, 20) == LIMIT.count
    assert windows.calls == 1


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_redis_that_answers_a_late_process_is_used(
    limiter: RedisRateLimiter,
    windows: FakeRedisWindows,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def answer_while_the_loop_is_blocked() -> Decision:
        here, there = socket.socketpair()
        with there:
            reader, writer = await asyncio.open_connection(sock=here)
            there.send(b"+OK")
            loop = asyncio.get_running_loop()
            end = loop.time() + 2 * ADMIT_MAX_S
            while loop.time() < end:
                pass
            await reader.readexactly(3)
            writer.close()
        return await FakeRedisWindows.decide(windows, {"ours": LIMIT})

    windows.decide = lambda *_, **__: answer_while_the_loop_is_blocked()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(limiter.admit({"ours": LIMIT})).admitted
    assert (windows.calls, limiter.redis.count) == (1, 0)


async def test_outage_and_its_end_are_logged_once(limiter, windows, clock, caplog):
    caplog.set_level(logging.INFO, LOG)
    for _ in range(2):
        windows.fail = ConnectionError()
        for _ in range(3):
            await count_admitted(limiter, 5)
            clock.forward(RETRY_AFTER_S)
        windows.fail = None
        await count_admitted(limiter, 5)
        clock.forward(RETRY_AFTER_S)
    assert logged_levels(caplog) == ["WARNING", "INFO"] * 2
    assert "ConnectionError" in caplog.text


async def test_redis_is_not_tried_for_a_while_after_a_failure(limiter, windows, clock):
    windows.fail = ConnectionError()
    await count_admitted(limiter, 5)
    clock.forward(RETRY_AFTER_S - 0.001)
    await count_admitted(limiter, 5)
    assert windows.calls == 1
    clock.forward(0.001)
    await count_admitted(limiter, 5)
    assert windows.calls == 2


async def test_one_request_probes_redis_and_others_do_not_wait(limiter, windows, clock):
    windows.fail = ConnectionError()
    await limiter.admit({"ours": LIMIT})
    windows.fail, windows.gate = None, asyncio.Event()
    clock.forward(RETRY_AFTER_S)
    probe = asyncio.create_task(limiter.admit({"ours": LIMIT}))
    await asyncio.sleep(0)
    assert await count_admitted(limiter, 20) == 8
    assert not probe.done()
    assert windows.calls == 2
    windows.gate.set()
    assert (await probe).admitted
    fallbacks = limiter.redis.count
    await count_admitted(limiter, 5)
    assert limiter.redis.count == fallbacks


async def test_late_answer_does_not_end_an_outage(limiter, windows, clock):
    gate = windows.gate = asyncio.Event()
    early = asyncio.create_task(limiter.admit({"ours": LIMIT}))
    await asyncio.sleep(0)
    windows.gate, windows.fail = None, ConnectionError()
    await limiter.admit({"ours": LIMIT})
    windows.fail = None
    gate.set()
    await early
    await count_admitted(limiter, 5)
    assert windows.calls == 2


async def test_cancelled_request_still_counts(limiter, windows):
    windows.gate = asyncio.Event()
    request = asyncio.create_task(limiter.admit({"ours": LIMIT}))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    windows.gate = None
    assert await count_admitted(limiter, 20) == 9
    assert limiter.redis.count == 0


# --- local window and Redis window ---------------------------------------------------------------


async def test_request_refused_by_redis_does_not_count_locally(limiter, windows, clock):
    for _ in range(LIMIT.count):
        windows.histories["ours"].admit(LIMIT, clock())  # by another process
    assert await count_admitted(limiter, 30) == 0
    windows.fail = ConnectionError()
    assert await count_admitted(limiter, 30) == LIMIT.count


async def test_request_refused_locally_does_not_count_in_redis(limiter, windows):
    assert await count_admitted(limiter, 10) == 10
    windows.histories.clear()
    assert await count_admitted(limiter, 10) == 0
    assert len(windows.histories["ours"]) == 0


@pytest.mark.parametrize(("redis_s", "wait_s"), [(-5, 60), (0, 60), (5, 65)])
async def test_longer_wait_is_returned(limiter, windows, clock, redis_s, wait_s):
    one = Limit(1, "minute")
    assert (await limiter.admit({"ours": one})).admitted
    windows.histories["ours"] = SlidingWindow()
    windows.histories["ours"].admit(one, clock() + redis_s * SECOND_US)
    assert (await limiter.admit({"ours": one})).retry_after_s == wait_s


@given(st.data(), limits)
async def test_window_never_exceeds_limit_during_outage(data, limit):
    """One process, with any sequence of outages and flushes of Redis."""
    clock = MicrosecondClock(1_000 * SECOND_US)
    windows = FakeRedisWindows(clock)
    limiter = limiter_over(windows, clock)
    expected = SlidingWindow()
    for step_us in data.draw(st.lists(steps_us(limit), max_size=40)):
        clock.now_us += step_us
        match data.draw(st.sampled_from(["", "", "", "down", "up", "flushed"])):
            case "down":
                windows.fail = ConnectionError()
            case "up":
                windows.fail = None
            case "flushed":
                windows.histories.clear()
        decision = await limiter.admit({"ours": limit})
        assert decision == expected.admit(limit, clock())


@given(st.data(), limits)
async def test_processes_share_the_limit_while_redis_answers(data, limit):
    clock = MicrosecondClock(1_000 * SECOND_US)
    windows, expected = FakeRedisWindows(clock), SlidingWindow()
    processes = [limiter_over(windows, clock) for _ in range(2)]
    for step_us in data.draw(st.lists(steps_us(limit), max_size=40)):
        clock.now_us += step_us
        process = data.draw(st.sampled_from(processes))
        assert await process.admit({"ours": limit}) == expected.admit(limit, clock())


# --- real servers --------------------------------------------------------------------------------


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path)
    yield server
    server.child.stop()


@contextlib.asynccontextmanager
async def opened_limiter(valkey: Valkey, clock: MicrosecondClock):
    """Open a limiter of this server, after a first successful request."""
    async with opened(valkey.url) as client:
        limiter = limiter_over(RedisSlidingWindows(client), clock)
        await wait_recovered(limiter, clock)
        yield limiter, client


async def wait_recovered(limiter: RedisRateLimiter, clock: MicrosecondClock) -> None:
    """Wait until the limiter uses Redis again."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_MAX_S
    while True:
        before = limiter.redis.count
        clock.forward(RETRY_AFTER_S)
        await limiter.admit({f"probe:{uuid.uuid4()}": LIMIT})
        if limiter.redis.count == before:
            return
        assert loop.time() < end, "the limiter does not recover"
        await asyncio.sleep(0.05)


@pytest.mark.service
async def test_paused_server_times_out_and_recovers(valkey, clock, caplog):
    async with opened_limiter(valkey, clock) as (limiter, _):
        caplog.set_level(logging.INFO, LOG)
        assert await count_admitted(limiter, 4) == 4
        with valkey.paused():
            assert await count_admitted(limiter, 20) == 6
            assert limiter.redis.count >= 20
        await wait_recovered(limiter, clock)
        assert await count_admitted(limiter, 5) == 0
        assert logged_levels(caplog)[:1] == ["WARNING"]
        assert logged_levels(caplog)[-1:] == ["INFO"]


@pytest.mark.service
async def test_concurrent_requests_get_the_limit_during_a_pause(valkey, clock):
    async with opened_limiter(valkey, clock) as (limiter, _):
        with valkey.paused():
            decisions = await asyncio.gather(*(limiter.admit({"ours": LIMIT}) for _ in range(200)))
        assert sum(one.admitted for one in decisions) == LIMIT.count
        await wait_recovered(limiter, clock)


@pytest.mark.service
async def test_server_restarted_empty_admits_no_more(valkey, clock):
    async with opened_limiter(valkey, clock) as (limiter, _):
        assert await count_admitted(limiter, 4) == 4
        valkey.kill()
        assert await count_admitted(limiter, 3) == 3
        valkey.start_again()
        await wait_recovered(limiter, clock)
        assert await count_admitted(limiter, 20) == 3


@pytest.mark.service
async def test_connections_from_before_a_restart_are_replaced(valkey: Valkey) -> None:
    async with opened(valkey.url) as client:
        pool = client.connection_pool
        for one in [await pool.get_connection() for _ in range(4)]:
            await pool.release(one)
        valkey.kill()
        await asyncio.to_thread(valkey.start_again)  # the loop reads that they were closed
        async with opened(valkey.url) as other:
            await until(RedisHealthCheck(other).check, lambda state: state.ok)
        assert await asyncio.gather(*(client.ping() for _ in range(4))) == [True] * 4


@pytest.mark.service
async def test_flushed_server_reloads_the_script_and_admits_no_more(valkey, clock):
    async with opened_limiter(valkey, clock) as (limiter, client):
        assert await count_admitted(limiter, 4) == 4
        await client.flushall()
        await client.script_flush()
        assert await count_admitted(limiter, 20) == 6
        await client.script_flush()
        await wait_recovered(limiter, clock)


@pytest.mark.service
async def test_read_only_server_counts_as_down(valkey, clock):
    async with opened_limiter(valkey, clock) as (limiter, client):
        assert await count_admitted(limiter, 4) == 4
        await client.config_set("maxmemory", 1)
        assert await count_admitted(limiter, 20) == 6
        assert limiter.redis.count > 0
        await client.config_set("maxmemory", 0)
        await wait_recovered(limiter, clock)


@pytest.mark.service
async def test_key_of_wrong_type_counts_as_down(valkey, clock):
    async with opened_limiter(valkey, clock) as (limiter, client):
        await client.set("limit:ours", "something else")
        assert await count_admitted(limiter, 20) == LIMIT.count
