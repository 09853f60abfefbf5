"""Renews the lease of a target while its questions wait, so that no other worker begins on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from application.evaluation.ports.work_queue import LEASE, Claim, WorkQueue
from application.ports import Clock
from domain.errors import Unavailable

RENEW_EVERY: Final = LEASE / 4  # so that one or two failed renewals do no harm


@asynccontextmanager
async def renewing_lease(
    work_queue: WorkQueue, claim: Claim, clock: Clock, every: timedelta
) -> AsyncIterator[None]:
    """Renews the lease in the background until the block ends.

    It stops with the process, so a killed worker's lease runs out.
    """
    renewing = asyncio.create_task(_renew_forever(work_queue, claim, clock, every))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renew_forever(
    work_queue: WorkQueue, claim: Claim, clock: Clock, every: timedelta
) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        with contextlib.suppress(Unavailable):  # the next renewal may succeed
            await work_queue.renew(claim, clock())
