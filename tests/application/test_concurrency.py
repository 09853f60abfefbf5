"""Concurrent steps: limited, in order, and not abandoned if another step fails."""

import asyncio
from functools import partial

import pytest

from application.concurrency import gather_limited


class Steps:
    def __init__(self) -> None:
        self.started: list[int] = []
        self.running = 0
        self.most = 0

    async def step(self, n: int) -> int:
        self.started.append(n)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(10 - n):  # later steps end first
                await asyncio.sleep(0)
        finally:
            self.running -= 1
        return n

    async def broken(self, n: int) -> int:
        await self.step(n)
        raise ValueError(n)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_results_are_in_order_within_the_limit(limit):
    counted = Steps()
    steps = [partial(counted.step, n) for n in range(10)]
    assert await gather_limited(limit, steps) == list(range(10))
    assert counted.started == list(range(10))
    assert counted.most == min(limit, 10)


async def test_without_countedthe_result_is_empty():
    assert await gather_limited(1, []) == []


async def test_after_a_failure_no_other_step_starts():
    counted = Steps()
    steps = [partial(counted.step, 0), partial(counted.broken, 5), *[partial(counted.step, 1)] * 50]
    with pytest.raises(ValueError) as problem:
        await gather_limited(2, steps)
    assert problem.value.args == (5,)
    assert counted.running == 0
    assert len(counted.started) < 10


async def test_after_a_failure_running_countedend_first():
    counted, done = Steps(), list[int]()

    async def slow() -> None:
        done.append(await counted.step(0))

    with pytest.raises(ValueError):
        await gather_limited(2, [slow, partial(counted.broken, 9), slow])
    assert done == [0]


async def test_cancelling_stops_all_steps():
    counted, started = Steps(), asyncio.Event()

    async def endless() -> None:
        counted.running += 1
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            counted.running -= 1

    work = asyncio.create_task(gather_limited(2, [endless] * 5))
    await started.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert counted.running == 0
