"""Bodies that need more memory than there is wait, in the order in which they come."""

import asyncio

import pytest

from domain.errors import Unavailable
from entrypoints.http.middleware.byte_limit import ByteLimit
from tests.support.waiting import in_time


async def test_bodies_within_the_limit_wait_for_none():
    limit = ByteLimit(100)
    for size in (60, 40):
        await limit.acquire(size, 0)
    assert limit.held == 100


async def test_larger_body_has_its_turn_alone():
    limit = ByteLimit(100)
    await limit.acquire(500, 0)
    with pytest.raises(Unavailable):
        await limit.acquire(1, 0)
    limit.release(500)
    await limit.acquire(1, 0)
    assert limit.held == 1


async def test_turns_are_in_the_order_of_arrival():
    limit, order = ByteLimit(100), []
    await limit.acquire(100, 0)

    async def work(name: str, size: int) -> None:
        await limit.acquire(size)
        order.append(name)

    tasks = []
    for name, size in (("large", 90), ("small", 10), ("next", 5)):
        tasks.append(asyncio.create_task(work(name, size)))
        await asyncio.sleep(0)
    limit.release(100)
    async with in_time():
        await asyncio.gather(*tasks[:2])
    assert order == ["large", "small"]
    limit.release(10)
    async with in_time():
        await tasks[2]
    assert (order, limit.held) == (["large", "small", "next"], 95)


async def test_one_that_gives_up_leaves_no_trace_and_delays_none():
    limit = ByteLimit(100)
    await limit.acquire(60, 0)
    with pytest.raises(Unavailable):
        await limit.acquire(90, 0.001)
    await limit.acquire(40, 0)
    assert limit.held == 100


async def test_small_body_goes_on_once_the_large_one_before_it_gave_up():
    limit = ByteLimit(100)
    await limit.acquire(60, 0)
    large = asyncio.create_task(limit.acquire(90))
    await asyncio.sleep(0)
    small = asyncio.create_task(limit.acquire(30))
    await asyncio.sleep(0)
    assert limit.held == 60
    large.cancel()
    async with in_time():
        await small
    assert limit.held == 90


async def test_cancelled_one_gives_back_the_turn_it_got_at_the_same_moment():
    limit = ByteLimit(100)
    await limit.acquire(100, 0)
    task = asyncio.create_task(limit.acquire(50))
    await asyncio.sleep(0)
    limit.release(100)  # its turn has come, but it hasn't run yet
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert limit.held == 0
