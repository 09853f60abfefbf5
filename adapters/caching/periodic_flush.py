"""Flushes a buffer periodically, and once more at its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

type Flush = Callable[[], Awaitable[None]]


@asynccontextmanager
async def flush_periodically(
    flush: Flush, every_s: float, final_timeout_s: float, on_lost: Callable[[], None]
) -> AsyncIterator[None]:
    """Calls `flush` every `every_s` while the block runs, and once more at its end.

    Calls `on_lost` if the last flush takes longer than `final_timeout_s`.
    """
    flushing = asyncio.create_task(_repeat(flush, every_s))
    try:
        yield
    finally:
        flushing.cancel()
        await asyncio.wait([flushing])
        try:
            async with asyncio.timeout(final_timeout_s):
                await flush()
        except TimeoutError:
            on_lost()


async def _repeat(flush: Flush, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await flush()
