"""Keeping a target while its questions wait for their turn: nobody else is to begin on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from application.evaluation.ports.work_queue import LEASE, Claim, WorkQueue
from application.ports import Clock
from domain.errors import Unavailable

RENEW_EVERY: Final = LEASE / 4  # so that one or two that fail cost nothing


@asynccontextmanager
async def kept(
    work_queue: WorkQueue, claim: Claim, clock: Clock, every: timedelta
) -> AsyncIterator[None]:
    """Renews the lease while the block goes on. It ends with the process, and so does the lease."""
    renewing = asyncio.create_task(_renewed(work_queue, claim, clock, every))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renewed(work_queue: WorkQueue, claim: Claim, clock: Clock, every: timedelta) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        with contextlib.suppress(Unavailable):  # the next one may succeed
            await work_queue.renew(claim, clock())
