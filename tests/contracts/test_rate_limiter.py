"""Contract of RateLimiter: no bucket admits more than its limit, whichever process counts.

Where the machine's time counts, windows are a day long, so that no request expires during a test.
Where instants matter, tests pass them and compare with the domain's SlidingWindow.
"""

import asyncio
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from adapters.memory.rate_limiter import SHARED_BUCKETS, MemoryRateLimiter, monotonic_us
from adapters.redis.client import opened
from adapters.redis.fallback import RedisFallback
from adapters.redis.limits import KEY_PREFIX, RedisRateLimiter, RedisSlidingWindows
from application.ports import RateLimiter
from domain.limits import SECOND_US, Decision, Limit, SlidingWindow
from tests.support.builders.strategies import limits, steps_us
from tests.support.fakes.clocks import MicrosecondClock
from tests.support.waiting import WAIT_MAX_S, in_time

ROOT = Path(__file__).parents[2]
START_US = 1_800_000_000 * SECOND_US
DAY = "day"


def new_bucket() -> str:
    """Returns a bucket that no other test or example has used."""
    return f"key:{uuid.uuid4()}:ingest"


def redis_limiter(client: Redis) -> RedisRateLimiter:
    local = MemoryRateLimiter(monotonic_us)
    return RedisRateLimiter(RedisSlidingWindows(client), local, RedisFallback(monotonic_us))


@pytest.fixture(params=["memory", "away", pytest.param("redis", marks=pytest.mark.service)])
def limiter(request: pytest.FixtureRequest) -> RateLimiter:
    """`away`: Redis is unreachable.

    A synchronous fixture, so that it may request another by name.
    """
    match request.param:
        case "memory":
            return MemoryRateLimiter(monotonic_us)
        case "away":
            return redis_limiter(request.getfixturevalue("nowhere"))
        case _:
            return redis_limiter(request.getfixturevalue("redis"))


# --- every adapter -------------------------------------------------------------------------------


async def test_limit_is_admitted_and_remaining_reported(limiter):
    bucket, limit = new_bucket(), Limit(3, DAY)
    results = [await limiter.admit({bucket: limit}) for _ in range(5)]
    assert [one.admitted for one in results] == [True] * 3 + [False] * 2
    assert [one.remaining for one in results] == [2, 1, 0, 0, 0]
    assert {one.limit for one in results} == {limit}
    assert all(0 < one.reset_s <= 86_400 for one in results)
    assert [one.retry_after_s for one in results[:3]] == [0] * 3
    assert all(one.retry_after_s == one.reset_s for one in results[3:])


async def test_buckets_are_independent(limiter):
    limit, buckets = Limit(1, DAY), [new_bucket() for _ in range(5)]
    for expected in (True, False):
        results = [(await limiter.admit({bucket: limit})).admitted for bucket in buckets]
        assert results == [expected] * 5


async def test_request_counts_in_all_its_buckets_or_in_none(limiter):
    own, other, whole = new_bucket(), new_bucket(), new_bucket()
    small, large = Limit(2, DAY), Limit(3, DAY)
    first = await limiter.admit({own: small, whole: large})
    assert (first.admitted, first.limit, first.remaining) == (True, small, 1)
    assert (await limiter.admit({own: small, whole: large})).admitted
    refused = await limiter.admit({own: small, whole: large})  # for its own bucket
    assert (refused.admitted, refused.limit) == (False, small)
    last = await limiter.admit({other: small, whole: large})
    assert (last.admitted, last.limit, last.remaining) == (True, large, 0)
    refused = await limiter.admit({other: small, whole: large})  # for the larger one
    assert (refused.admitted, refused.limit) == (False, large)
    assert (await limiter.admit({other: small})).remaining == 0  # it was counted once until now


async def test_any_name_is_a_bucket(limiter):
    name, limit = new_bucket(), Limit(1, DAY)
    for bucket in (f"{name}\n", f"{name} ", f"{name}é", f"{name}\0", f"{name}{'x' * 2000}"):
        assert (await limiter.admit({bucket: limit})).admitted
        assert not (await limiter.admit({bucket: limit})).admitted


async def test_concurrent_calls_get_exactly_the_limit(limiter):
    bucket, limit = new_bucket(), Limit(50, DAY)
    results = await asyncio.gather(*(limiter.admit({bucket: limit}) for _ in range(200)))
    passed = [one.remaining for one in results if one.admitted]
    assert len(passed) == 50
    assert min(passed) == 0
    assert max(passed) < 50


@pytest.mark.slow
async def test_slot_is_free_again_after_window(limiter):
    """Uses the machine's own time, with the shortest window."""
    bucket, limit = new_bucket(), Limit(1, "second")
    assert (await limiter.admit({bucket: limit})).admitted
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_MAX_S
    while not (await limiter.admit({bucket: limit})).admitted:
        assert loop.time() < end
        await asyncio.sleep(0.05)


# --- instants, compared with the domain ----------------------------------------------------------


@given(st.data(), limits)
async def test_memory_decides_like_the_domain(data, limit):
    ticks, model = MicrosecondClock(START_US), {"a": SlidingWindow(), "b": SlidingWindow()}
    limiter = MemoryRateLimiter(ticks)
    for step_us in data.draw(st.lists(steps_us(limit), max_size=30)):
        ticks.now_us += step_us
        bucket = data.draw(st.sampled_from("ab"))
        expected = model[bucket].admit(limit, ticks.now_us)
        assert await limiter.admit({bucket: limit}) == expected


@pytest.mark.service
@given(st.data(), limits)
async def test_redis_decides_like_the_domain(redis_url, data, limit):
    """The clock may go back, and the limit may change meanwhile."""
    bucket, model, now_us = new_bucket(), SlidingWindow(), START_US
    window_us = limit.window_us
    back = st.sampled_from([0, 0, 0, 1, window_us - 1, window_us, window_us + 1, 9 * window_us])
    counts = st.sampled_from([limit.count] * 4 + [1, limit.count + 2])
    async with opened(redis_url) as client:
        windows = RedisSlidingWindows(client)
        for step_us in data.draw(st.lists(steps_us(limit), max_size=20)):
            now_us += step_us - data.draw(back)
            current = Limit(data.draw(counts), limit.unit)
            preview = await windows.decide({bucket: current}, counts=False, at_us=now_us)
            expected = model.admit(current, now_us)
            assert preview == expected
            assert await windows.decide({bucket: current}, at_us=now_us) == expected


@pytest.mark.service
@given(st.data())
async def test_redis_decides_about_several_buckets_like_memory(redis_url, data):
    """Requests of three keys, each in its bucket and in that of their organization."""
    ticks, whole = MicrosecondClock(START_US), new_bucket()
    keys = {new_bucket(): Limit(count, "minute") for count in (1, 2, 3)}
    memory = MemoryRateLimiter(ticks)
    async with opened(redis_url) as client:
        windows = RedisSlidingWindows(client)
        for step_us in data.draw(st.lists(steps_us(Limit(2, "minute")), max_size=20)):
            ticks.now_us += step_us // 4
            key = data.draw(st.sampled_from(list(keys)))
            buckets = {key: keys[key], whole: Limit(4, "minute")}
            expected = await memory.admit(buckets)
            assert await windows.decide(buckets, at_us=ticks.now_us) == expected


@pytest.mark.service
async def test_redis_waits_for_enough_to_expire_after_limit_is_lowered(redis):
    bucket, model, windows = new_bucket(), SlidingWindow(), RedisSlidingWindows(redis)
    for second in range(5):
        at_us = START_US + second * 7 * SECOND_US
        model.admit(Limit(5, "minute"), at_us)
        await windows.decide({bucket: Limit(5, "minute")}, at_us=at_us)
    for count in range(5, 0, -1):
        results = await windows.decide({bucket: Limit(count, "minute")}, at_us=at_us)
        assert results.retry_after_s == 60 - 28 + (5 - count) * 7
        assert results == model.admit(Limit(count, "minute"), at_us)


@pytest.mark.service
async def test_redis_frees_a_slot_a_whole_window_later(redis):
    windows, buckets = RedisSlidingWindows(redis), {new_bucket(): Limit(1, "second")}
    decisions = [
        await windows.decide(buckets, at_us=START_US + later)
        for later in (0, SECOND_US - 1, SECOND_US)
    ]
    assert [one.admitted for one in decisions] == [True, False, True]


@pytest.mark.service
async def test_redis_uses_its_own_clock(redis):
    bucket, limit = new_bucket(), Limit(2, "minute")
    await RedisSlidingWindows(redis).decide({bucket: limit})
    [instant] = await redis.lrange(KEY_PREFIX + bucket, 0, -1)
    seconds, microseconds = await redis.time()
    assert 0 <= seconds * SECOND_US + microseconds - int(instant) < limit.window_us


@pytest.mark.service
@pytest.mark.parametrize("behind_us", [0, 1, 1_500, 60_000_000, 10**10])
async def test_redis_key_expires_with_its_window(redis, behind_us):
    bucket, limit = new_bucket(), Limit(2, "minute")
    window_ms = limit.window_us // 1000
    windows = RedisSlidingWindows(redis)
    for at_us in (START_US, START_US - behind_us):
        await windows.decide({bucket: limit}, at_us=at_us)
    left_ms = await redis.pttl(KEY_PREFIX + bucket)
    counts_ms = window_ms + (behind_us / 1000 if behind_us <= limit.window_us else 0)
    assert counts_ms - 30_000 < left_ms <= counts_ms + 2


@pytest.mark.service
async def test_decide_without_counting_stores_nothing(redis):
    bucket, windows = new_bucket(), RedisSlidingWindows(redis)
    for _ in range(3):
        assert (await windows.decide({bucket: Limit(1, DAY)}, counts=False)).admitted
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
        results = [(await child.communicate())[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum(map(int, results)) == 50


# --- many buckets in one process -----------------------------------------------------------------


async def admit_many(limiter: MemoryRateLimiter, limit: Limit, count: int) -> list[Decision]:
    """Admits once from each of `count` addresses."""
    return [await limiter.admit({f"ip:{n}": limit}) for n in range(count)]


async def test_many_addresses_do_not_reset_a_busy_bucket():
    ticks, limit = MicrosecondClock(START_US), Limit(5, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=50)
    for _ in range(5):
        assert (await limiter.admit({"busy": limit})).admitted
    await admit_many(limiter, limit, 3_000)
    ticks.now_us += limit.window_us - 1
    assert not (await limiter.admit({"busy": limit})).admitted
    assert len(limiter) <= 50 + SHARED_BUCKETS
    ticks.now_us += 1
    assert (await limiter.admit({"busy": limit})).admitted


async def test_idle_buckets_are_evicted():
    ticks, limit = MicrosecondClock(START_US), Limit(1, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=50)
    for round_ in range(5):
        results = [await limiter.admit({f"{round_}:{n}": limit}) for n in range(50)]
        assert all(one.admitted for one in results)
        assert len(limiter) <= 50
        ticks.now_us += limit.window_us


async def test_idle_bucket_is_evicted_behind_one_that_stays_busy():
    ticks, limit = MicrosecondClock(START_US), Limit(9, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=50)
    for bucket, wait_us in (("busy", 0), ("idle", limit.window_us - 1), ("busy", 1), ("new", 0)):
        await limiter.admit({bucket: limit})
        ticks.now_us += wait_us
    assert len(limiter) == 2


async def test_full_bucket_of_one_limit_takes_no_room_of_another():
    limiter = MemoryRateLimiter(MicrosecondClock(START_US), buckets_max=2)
    for n in range(10):
        await limiter.admit({f"ip:{n}": Limit(1, "minute")})
    assert (await limiter.admit({"key": Limit(1, "hour")})).admitted


async def test_shared_bucket_keeps_its_count_until_its_window_ends():
    ticks, limit = MicrosecondClock(START_US), Limit(1, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=1)
    assert (await limiter.admit({"first": limit})).admitted
    ticks.now_us += limit.window_us - 1
    assert (await limiter.admit({"second": limit})).admitted  # shares a bucket, for lack of room
    ticks.now_us += 1
    assert not (await limiter.admit({"second": limit})).admitted
    ticks.now_us += limit.window_us - 1
    assert (await limiter.admit({"second": limit})).admitted


@pytest.mark.parametrize("bucket", ["first", "second"])
async def test_taken_back_admission_frees_its_slot(bucket):
    ticks, limit = MicrosecondClock(START_US), Limit(1, "minute")
    limiter = MemoryRateLimiter(ticks, buckets_max=1)
    limiter.take_back([(bucket, limit, START_US)])  # which was never there
    admissions = {name: limiter.admit_at_once({name: limit})[1] for name in ("first", "second")}
    limiter.take_back(admissions[bucket])
    assert limiter.admit_at_once({bucket: limit})[0].admitted


async def test_request_taken_back_by_a_clock_that_is_behind_frees_its_slot():
    ticks, limit, full = MicrosecondClock(START_US), Limit(2, "minute"), Limit(1, "minute")
    limiter = MemoryRateLimiter(ticks)
    assert (await limiter.admit({"one": limit, "full": full})).admitted
    ticks.now_us -= 1
    assert not (await limiter.admit({"one": limit, "full": full})).admitted
    assert (await limiter.admit({"one": limit})).admitted


@given(st.data(), limits)
async def test_more_buckets_than_room_never_exceed_limits(data, limit):
    ticks = MicrosecondClock(START_US)
    limiter = MemoryRateLimiter(ticks, buckets_max=2)
    model = {name: SlidingWindow() for name in "abcdef"}
    for step_us in data.draw(st.lists(steps_us(limit), max_size=60)):
        ticks.now_us += step_us // 4
        bucket = data.draw(st.sampled_from("abcdef"))
        decision, admission = limiter.admit_at_once({bucket: limit})
        if decision.admitted:  # then it would be admitted alone
            if data.draw(st.booleans()):
                limiter.take_back(admission)
            else:
                assert model[bucket].admit(limit, ticks.now_us).admitted
