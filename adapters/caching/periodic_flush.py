"""Flushes a buffer periodically, and once more at its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

FINAL_FLUSH_TIMEOUT_S: Final = 0.5  # a database that doesn't answer delays a stop by this at most

type Flush = Callable[[], Awaitable[None]]


@asynccontextmanager
async def flush_periodically(
    flush: Flush,
    every_s: float,
    on_lost: Callable[[], None],
    final_timeout_s: float = FINAL_FLUSH_TIMEOUT_S,
) -> AsyncIterator[None]:
    """Calls `flush` every `every_s` while the block runs, and once more at its end.

    Calls `on_lost` if the last flush, or the end of one under way, takes longer than
    `final_timeout_s`.
    """
    is_ending = False

    async def repeat() -> None:
        while not is_ending:
            await asyncio.sleep(every_s)
            await flush()

    flushing = asyncio.create_task(repeat())
    try:
        yield
    finally:
        is_ending = True  # a store may turn the cancellation into another error
        flushing.cancel()
        _, stuck = await asyncio.wait([flushing], timeout=final_timeout_s)
        if stuck:
            on_lost()
        else:
            try:
                async with asyncio.timeout(final_timeout_s):
                    await flush()
            except TimeoutError:
                on_lost()
