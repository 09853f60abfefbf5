"""Several things at once: bounded, in order, and none given up where another fails."""

import asyncio
from functools import partial

import pytest

from application.concurrency import gather_limited


class Turns:
    def __init__(self) -> None:
        self.begun: list[int] = []
        self.under_way = 0
        self.most = 0

    async def step(self, n: int) -> int:
        self.begun.append(n)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(10 - n):  # the later ones are done first
                await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        return n

    async def broken(self, n: int) -> int:
        await self.step(n)
        raise ValueError(n)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_results_are_in_order_and_so_many_are_under_way(limit):
    turns = Turns()
    steps = [partial(turns.step, n) for n in range(10)]
    assert await gather_limited(limit, steps) == list(range(10))
    assert turns.begun == list(range(10))
    assert turns.most == min(limit, 10)


async def test_nothing_is_done_at_once():
    assert await gather_limited(1, []) == []


async def test_where_one_fails_no_other_begins_and_none_is_left():
    turns = Turns()
    steps = [partial(turns.step, 0), partial(turns.broken, 5), *[partial(turns.step, 1)] * 50]
    with pytest.raises(ValueError) as problem:
        await gather_limited(2, steps)
    assert problem.value.args == (5,)
    assert turns.under_way == 0
    assert len(turns.begun) < 10


async def test_where_one_fails_those_under_way_come_to_their_end():
    turns, done = Turns(), list[int]()

    async def slow() -> None:
        done.append(await turns.step(0))

    with pytest.raises(ValueError):
        await gather_limited(2, [slow, partial(turns.broken, 9), slow])
    assert done == [0]


async def test_given_up_it_leaves_nothing_behind():
    turns, started = Turns(), asyncio.Event()

    async def endless() -> None:
        turns.under_way += 1
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            turns.under_way -= 1

    work = asyncio.create_task(gather_limited(2, [endless] * 5))
    await started.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert turns.under_way == 0
