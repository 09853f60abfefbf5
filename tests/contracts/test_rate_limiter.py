"""Contract of RateLimiter: no bucket gets more than its limit, whoever counts, however it is asked.

Windows here are a day long where time is the machine's, so that nothing leaves while a test runs.
Where instants matter they are handed in, and held against the domain's History.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from adapters.embedded.process import free_port
from adapters.memory.rate_limiter import SHARED_BUCKETS, MemoryRateLimiter, monotonic_us
from adapters.redis.client import opened
from adapters.redis.limits import KEY_PREFIX, RedisRateLimiter, RedisWindows
from application.ports import RateLimiter
from domain.limits import SECOND_US, Decision, Limit, SlidingWindow
from tests.support.builders.strategies import limits, steps_us
from tests.support.waiting import WAIT_MAX_S, in_time

ROOT = Path(__file__).parents[2]
START_US = 1_800_000_000 * SECOND_US
DAY = "day"


def new_bucket() -> str:
    """One that no other test, and no earlier example, has asked for."""
    return f"key:{uuid.uuid4()}:ingest"


def shared(client: Redis) -> RedisRateLimiter:
    return RedisRateLimiter(RedisWindows(client), MemoryRateLimiter(monotonic_us), monotonic_us)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with opened(redis_url) as client:
        yield client


@pytest.fixture
async def nowhere() -> AsyncIterator[Redis]:
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as client:
        yield client


@pytest.fixture(params=["memory", "away", pytest.param("redis", marks=pytest.mark.service)])
def limiter(request: pytest.FixtureRequest) -> RateLimiter:
    """`away`: Redis can't be reached. A plain fixture: it may ask for another by name."""
    match request.param:
        case "memory":
            return MemoryRateLimiter(monotonic_us)
        case "away":
            return shared(request.getfixturevalue("nowhere"))
        case _:
            return shared(request.getfixturevalue("redis"))


# --- every adapter -------------------------------------------------------------------------------


async def test_as_many_as_the_limit_are_admitted_and_told_what_remains(limiter):
    bucket, limit = new_bucket(), Limit(3, DAY)
    told = [await limiter.admit(bucket, limit) for _ in range(5)]
    assert [one.admitted for one in told] == [True] * 3 + [False] * 2
    assert [one.remaining for one in told] == [2, 1, 0, 0, 0]
    assert {one.limit for one in told} == {limit}
    assert all(0 < one.reset_s <= 86_400 for one in told)
    assert [one.retry_after_s for one in told[:3]] == [0] * 3
    assert all(one.retry_after_s == one.reset_s for one in told[3:])


async def test_buckets_do_not_know_each_other(limiter):
    limit, buckets = Limit(1, DAY), [new_bucket() for _ in range(5)]
    for expected in (True, False):
        told = [(await limiter.admit(bucket, limit)).admitted for bucket in buckets]
        assert told == [expected] * 5


async def test_any_name_makes_a_bucket(limiter):
    name, limit = new_bucket(), Limit(1, DAY)
    for bucket in (f"{name}\n", f"{name} ", f"{name}é", f"{name}\0", f"{name}{'x' * 2000}"):
        assert (await limiter.admit(bucket, limit)).admitted
        assert not (await limiter.admit(bucket, limit)).admitted


async def test_two_hundred_at_once_get_the_limit_exactly(limiter):
    bucket, limit = new_bucket(), Limit(50, DAY)
    told = await asyncio.gather(*(limiter.admit(bucket, limit) for _ in range(200)))
    passed = [one.remaining for one in told if one.admitted]
    assert len(passed) == 50
    assert min(passed) == 0
    assert max(passed) < 50


async def test_a_place_that_is_free_again_is_given_again(limiter):
    """By the machine's own time, with the shortest window there is."""
    bucket, limit = new_bucket(), Limit(1, "second")
    assert (await limiter.admit(bucket, limit)).admitted
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_MAX_S
    while not (await limiter.admit(bucket, limit)).admitted:
        assert loop.time() < end
        await asyncio.sleep(0.05)


# --- instants, against the domain ----------------------------------------------------------------


class Hands:
    """Ticks that are set."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us


@given(st.data(), limits)
async def test_memory_decides_any_history_as_the_domain_does(data, limit):
    ticks, model = Hands(), {"a": SlidingWindow(), "b": SlidingWindow()}
    limiter = MemoryRateLimiter(ticks)
    for step_us in data.draw(st.lists(steps_us(limit), max_size=30)):
        ticks.now_us += step_us
        bucket = data.draw(st.sampled_from("ab"))
        expected = model[bucket].admit(limit, ticks.now_us)
        assert await limiter.admit(bucket, limit) == expected


@pytest.mark.service
@given(st.data(), limits)
async def test_redis_decides_any_history_as_the_domain_does(redis_url, data, limit):
    """Whatever the clock does, also backwards, and also when the limit is changed on the way."""
    bucket, model, now_us = new_bucket(), SlidingWindow(), START_US
    window_us = limit.window_us
    back = st.sampled_from([0, 0, 0, 1, window_us - 1, window_us, window_us + 1, 9 * window_us])
    counts = st.sampled_from([limit.count] * 4 + [1, limit.count + 2])
    async with opened(redis_url) as client:
        windows = RedisWindows(client)
        for step_us in data.draw(st.lists(steps_us(limit), max_size=20)):
            now_us += step_us - data.draw(back)
            current = Limit(data.draw(counts), limit.unit)
            looked = await windows.decide(bucket, current, counts=False, at_us=now_us)
            expected = model.admit(current, now_us)
            assert looked == expected
            assert await windows.decide(bucket, current, at_us=now_us) == expected


@pytest.mark.service
async def test_redis_waits_for_as_many_to_leave_as_a_lowered_limit_needs(redis):
    bucket, model, windows = new_bucket(), SlidingWindow(), RedisWindows(redis)
    for second in range(5):
        at_us = START_US + second * 7 * SECOND_US
        model.admit(Limit(5, "minute"), at_us)
        await windows.decide(bucket, Limit(5, "minute"), at_us=at_us)
    for count in range(5, 0, -1):
        told = await windows.decide(bucket, Limit(count, "minute"), at_us=at_us)
        assert told.retry_after_s == 60 - 28 + (5 - count) * 7
        assert told == model.admit(Limit(count, "minute"), at_us)


@pytest.mark.service
async def test_redis_itself_says_what_time_it_is(redis):
    bucket, limit = new_bucket(), Limit(2, "minute")
    await RedisWindows(redis).decide(bucket, limit)
    [instant] = await redis.lrange(KEY_PREFIX + bucket, 0, -1)
    seconds, microseconds = await redis.time()
    assert 0 <= seconds * SECOND_US + microseconds - int(instant) < limit.window_us


@pytest.mark.service
@pytest.mark.parametrize("behind_us", [0, 1, 1_500, 60_000_000, 10**10])
async def test_a_key_in_redis_lives_as_long_as_it_counts_and_hardly_longer(redis, behind_us):
    bucket, limit = new_bucket(), Limit(2, "minute")
    window_ms = limit.window_us // 1000
    windows = RedisWindows(redis)
    for at_us in (START_US, START_US - behind_us):
        await windows.decide(bucket, limit, at_us=at_us)
    left_ms = await redis.pttl(KEY_PREFIX + bucket)
    counts_ms = window_ms + (behind_us / 1000 if behind_us <= limit.window_us else 0)
    assert counts_ms - 30_000 < left_ms <= counts_ms + 2


@pytest.mark.service
async def test_what_is_only_looked_at_counts_nothing(redis):
    bucket, windows = new_bucket(), RedisWindows(redis)
    for _ in range(3):
        assert (await windows.decide(bucket, Limit(1, DAY), counts=False)).admitted
    assert await redis.exists(KEY_PREFIX + bucket) == 0


# --- several processes ---------------------------------------------------------------------------


@pytest.mark.service
async def test_processes_share_a_limit(redis_url):
    bucket = new_bucket()
    command = [
        sys.executable,
        "-m",
        "tests.support.clients.rate_limit_process",
        redis_url,
        bucket,
        "50/day",
        "60",
    ]
    children = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    async with in_time():
        told = [(await child.communicate())[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum(map(int, told)) == 50


# --- many buckets in one process -----------------------------------------------------------------


async def many(limiter: MemoryRateLimiter, limit: Limit, count: int) -> list[Decision]:
    """The answers to callers from so many addresses, each asking once."""
    return [await limiter.admit(f"ip:{n}", limit) for n in range(count)]


async def test_callers_with_many_addresses_start_no_busy_bucket_anew():
    ticks, limit = Hands(), Limit(5, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=50)
    for _ in range(5):
        assert (await limiter.admit("busy", limit)).admitted
    await many(limiter, limit, 3_000)
    ticks.now_us += limit.window_us - 1
    assert not (await limiter.admit("busy", limit)).admitted
    assert len(limiter) <= 50 + SHARED_BUCKETS
    ticks.now_us += 1
    assert (await limiter.admit("busy", limit)).admitted


async def test_buckets_in_which_nothing_counts_make_room():
    ticks, limit = Hands(), Limit(1, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=50)
    for round_ in range(5):
        told = [await limiter.admit(f"{round_}:{n}", limit) for n in range(50)]
        assert all(one.admitted for one in told)
        assert len(limiter) <= 50
        ticks.now_us += limit.window_us


async def test_a_full_bucket_of_one_limit_takes_no_room_from_another():
    limiter = MemoryRateLimiter(Hands(), buckets_max=2)
    for n in range(10):
        await limiter.admit(f"ip:{n}", Limit(1, "minute"))
    assert (await limiter.admit("key", Limit(1, "hour"))).admitted


async def test_a_bucket_stays_where_it_is_counted_also_when_there_is_room():
    ticks, limit = Hands(), Limit(1, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=1)
    assert (await limiter.admit("first", limit)).admitted
    ticks.now_us += limit.window_us - 1
    assert (await limiter.admit("second", limit)).admitted  # shares, for want of room
    ticks.now_us += 1
    assert not (await limiter.admit("second", limit)).admitted
    ticks.now_us += limit.window_us - 1
    assert (await limiter.admit("second", limit)).admitted


@pytest.mark.parametrize("bucket", ["first", "second"])
async def test_what_is_taken_back_gives_its_place_back(bucket):
    limiter, limit = MemoryRateLimiter(Hands(), buckets_max=1), Limit(1, "minute")
    limiter.take_back(bucket, limit, START_US)  # which was never there
    for name in ("first", "second"):
        _, at_us = limiter.admit_at_once(name, limit)
    limiter.take_back(bucket, limit, at_us)
    assert limiter.admit_at_once(bucket, limit)[0].admitted


@given(st.data(), limits)
async def test_with_more_buckets_than_room_none_gets_more_than_its_limit(data, limit):
    ticks = Hands()
    limiter = MemoryRateLimiter(ticks, buckets_max=2)
    model = {name: SlidingWindow() for name in "abcdef"}
    for step_us in data.draw(st.lists(steps_us(limit), max_size=60)):
        ticks.now_us += step_us // 4
        bucket = data.draw(st.sampled_from("abcdef"))
        decision, at_us = limiter.admit_at_once(bucket, limit)
        if decision.admitted:  # then it would be, were it alone
            if data.draw(st.booleans()):
                limiter.take_back(bucket, limit, at_us)
            else:
                assert model[bucket].admit(limit, ticks.now_us).admitted
