"""Contract of TokenBuckets: what was charged is refilled by time alone.

Where the machine's time counts, charges are so large that no bucket refills during a test. Where
instants matter, tests pass them and compare with the domain's TokenBucket.
"""

import asyncio
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from adapters.memory.rate_limiter import monotonic_us
from adapters.memory.token_buckets import MemoryTokenBuckets
from adapters.redis.client import opened
from adapters.redis.fallback import RedisFallback
from adapters.redis.token_buckets import KEY_PREFIX, RedisTokenBuckets, SharedTokenBuckets
from application.ports import TokenBuckets
from domain.limits import SECOND_US
from domain.token_buckets import HELD_US, TokenBucket
from tests.support.fakes.clocks import MicrosecondClock

START_US = 1_800_000_000 * SECOND_US
MINUTE_US = 60 * SECOND_US
# None so small that Redis forgets it during a test, in which time stands still.
COSTS = st.sampled_from([0, SECOND_US, HELD_US - 1, HELD_US, HELD_US + 1, 9 * HELD_US])
BACK = st.sampled_from([0, 0, 0, 1, 10 * MINUTE_US, 60 * MINUTE_US])
STEPS = st.sampled_from([0, 1, SECOND_US, HELD_US, 20 * SECOND_US])


def new_bucket() -> str:
    return f"bytes:key:{uuid.uuid4()}"


def over_redis(client: Redis) -> RedisTokenBuckets:
    local = MemoryTokenBuckets(monotonic_us)
    return RedisTokenBuckets(SharedTokenBuckets(client), local, RedisFallback(monotonic_us))


@pytest.fixture(params=["memory", "away", pytest.param("redis", marks=pytest.mark.service)])
def buckets(request: pytest.FixtureRequest) -> TokenBuckets:
    """`away`: Redis is unreachable."""
    match request.param:
        case "memory":
            return MemoryTokenBuckets(monotonic_us)
        case "away":
            return over_redis(request.getfixturevalue("nowhere"))
        case _:
            return over_redis(request.getfixturevalue("redis"))


# --- every adapter -------------------------------------------------------------------------------


async def test_new_bucket_has_something(buckets):
    assert await buckets.wait_us([new_bucket(), new_bucket()]) == 0


async def test_bucket_is_empty_until_its_debt_is_refilled(buckets):
    bucket = new_bucket()
    await buckets.charge({bucket: HELD_US + MINUTE_US})
    assert 0 < await buckets.wait_us([bucket]) <= MINUTE_US + 1


async def test_costs_add_up(buckets):
    bucket = new_bucket()
    for _ in range(3):
        await buckets.charge({bucket: HELD_US + MINUTE_US})
    assert await buckets.wait_us([bucket]) > 2 * MINUTE_US


async def test_longest_wait_of_several_buckets_counts(buckets):
    full, empty, emptier = new_bucket(), new_bucket(), new_bucket()
    await buckets.charge({full: 0, empty: 2 * MINUTE_US, emptier: 4 * MINUTE_US})
    assert await buckets.wait_us([full]) == 0
    assert MINUTE_US < await buckets.wait_us([full, empty]) < 2 * MINUTE_US
    assert await buckets.wait_us([empty, emptier, full]) > 3 * MINUTE_US


async def test_asking_costs_nothing(buckets):
    bucket = new_bucket()
    for _ in range(5):
        assert await buckets.wait_us([bucket]) == 0


async def test_concurrent_charges_all_count(buckets):
    bucket = new_bucket()
    await asyncio.gather(*(buckets.charge({bucket: MINUTE_US}) for _ in range(5)))
    assert await buckets.wait_us([bucket]) > 4 * MINUTE_US


# --- instants, compared with the domain ----------------------------------------------------------


@given(st.lists(st.tuples(STEPS, st.sampled_from("ab"), COSTS), max_size=30))
async def test_memory_refills_like_the_domain(steps):
    ticks, model = MicrosecondClock(START_US), {"a": TokenBucket(), "b": TokenBucket()}
    buckets = MemoryTokenBuckets(ticks)
    for step_us, bucket, cost in steps:
        ticks.now_us += step_us
        assert await buckets.wait_us([bucket]) == model[bucket].wait_us(ticks.now_us)
        await buckets.charge({bucket: cost})
        model[bucket].charge(cost, ticks.now_us)
    for bucket, one in model.items():
        assert await buckets.wait_us([bucket]) == one.wait_us(ticks.now_us)


@pytest.mark.service
@given(st.lists(st.tuples(STEPS, COSTS, BACK), max_size=20))
async def test_redis_refills_like_the_domain(redis_url, steps):
    """The clock may go back."""
    bucket, model, now_us = new_bucket(), TokenBucket(), START_US
    async with opened(redis_url) as client:
        shared = SharedTokenBuckets(client)
        for step_us, cost, back_us in steps:
            now_us += step_us - back_us
            assert await shared.charge({bucket: 0}, now_us) == model.wait_us(now_us)
            model.charge(cost, now_us)
            assert await shared.charge({bucket: cost}, now_us) == model.wait_us(now_us)


@pytest.mark.service
async def test_redis_forgets_a_bucket_once_it_is_full(redis):
    bucket = new_bucket()
    await SharedTokenBuckets(redis).charge({bucket: MINUTE_US})
    assert 30_000 < await redis.pttl(KEY_PREFIX + bucket) <= 60_001
    await SharedTokenBuckets(redis).charge({new_bucket(): 0})
    assert await redis.exists(KEY_PREFIX + new_bucket()) == 0


@pytest.mark.service
async def test_processes_share_buckets(redis):
    one, other = over_redis(redis), over_redis(redis)
    empty, emptier = new_bucket(), new_bucket()
    await one.charge({empty: MINUTE_US, emptier: 4 * MINUTE_US})
    assert await other.wait_us([empty]) > 0
    assert await other.wait_us([emptier, empty]) > 3 * MINUTE_US


@pytest.mark.service
async def test_own_charges_count_after_redis_has_lost_its_data(redis):
    bucket, buckets = new_bucket(), over_redis(redis)
    await buckets.charge({bucket: MINUTE_US})
    await redis.delete(KEY_PREFIX + bucket)
    assert await buckets.wait_us([bucket]) > 0


def test_clock_that_is_set_back_refills_the_bucket_from_then_on():
    bucket, back_us = TokenBucket(), 60 * MINUTE_US
    bucket.charge(HELD_US + SECOND_US, START_US)
    assert bucket.wait_us(START_US - back_us) == bucket.wait_us(START_US - back_us) == SECOND_US + 1
    assert bucket.wait_us(START_US - back_us + SECOND_US + 1) == 0


@pytest.mark.service
async def test_clock_of_redis_that_is_set_back_refills_the_bucket_from_then_on(redis):
    bucket, shared, back_us = new_bucket(), SharedTokenBuckets(redis), 60 * MINUTE_US
    await shared.charge({bucket: MINUTE_US}, START_US)
    for later_us in (0, SECOND_US, MINUTE_US - HELD_US):
        left_us = MINUTE_US - HELD_US - later_us + 1
        assert await shared.charge({bucket: 0}, START_US - back_us + later_us) == left_us
    assert await shared.charge({bucket: 0}, START_US - back_us + MINUTE_US) == 0


async def test_full_and_surplus_buckets_are_dropped():
    ticks = MicrosecondClock(START_US)
    buckets = MemoryTokenBuckets(ticks, buckets_max=3)
    for number in range(5):
        await buckets.charge({str(number): HELD_US + 10})
    assert len(buckets) == 3
    assert await buckets.wait_us(["4"]) > 0
    ticks.now_us += HELD_US + 10
    for number in range(3):
        await buckets.charge({f"new {number}": 1})
        ticks.now_us += 1
    assert len(buckets) <= 2
