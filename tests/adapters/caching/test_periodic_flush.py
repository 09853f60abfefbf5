"""A flush that is under way at the end delays it by no more than the timeout."""

import asyncio

from adapters.caching.periodic_flush import flush_periodically
from tests.support.waiting import in_time


async def test_end_comes_although_a_store_turns_the_cancellation_into_another_error():
    begun = asyncio.Event()
    flushes = []

    async def flush():
        flushes.append(len(flushes))
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:  # as a buffer that catches what the store raises
            return

    async with in_time(), flush_periodically(flush, 0, list, 0.01):
        await begun.wait()
    assert flushes == [0, 1]


async def test_end_does_not_wait_for_a_flush_that_ignores_its_cancellation():
    begun, answer, lost = asyncio.Event(), asyncio.Event(), []

    async def flush():
        begun.set()
        while not answer.is_set():
            try:
                await answer.wait()
            except asyncio.CancelledError:
                continue

    async with in_time(), flush_periodically(flush, 0, lambda: lost.append(1), 0.01):
        await begun.wait()
    assert lost == [1]
    answer.set()
