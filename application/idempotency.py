"""Idempotency keys: a write has its effect once, however often it is sent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from application.batches import run_in_batches
from application.ports import (
    Clock,
    IdempotencyLock,
    IdempotencyStore,
    IdempotentRequest,
    NewId,
    StoredResponse,
)
from domain.errors import Unavailable

POLL_INTERVAL_S: Final = 0.1
POLLS_MAX: Final = 200  # 20 s: longer than a lock, so that a waiting request replaces a dead one

type Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""

type Write = Callable[[UUID], Awaitable[StoredResponse]]
"""Creates the object of this id, or finds it, and returns the response."""


@dataclass(frozen=True, slots=True)
class RunIdempotently:
    """Does a write if it wasn't done yet; otherwise returns its stored response."""

    responses: IdempotencyStore
    retention: timedelta
    clock: Clock
    new_id: NewId

    async def __call__(
        self, request: IdempotentRequest, write: Write, sleep: Sleep = asyncio.sleep
    ) -> StoredResponse:
        """The response of the first attempt that succeeds. Waits while another attempt runs.

        Raises what `write` raises; then no response is stored. Raises Conflict if the key belongs
        to another request, Unavailable if the other attempt takes too long.
        """
        lock = await self._acquire(request, sleep)
        if isinstance(lock, StoredResponse):
            return lock
        try:
            response = await write(lock.object_id)
        except Exception:
            with suppress(Unavailable):  # the lock expires by itself
                await self.responses.release(request, lock, self.clock())
            raise
        try:
            return await self.responses.complete(request, lock, response)
        except Unavailable:
            return response  # the write is done; a retry finds the object by its id

    async def _acquire(
        self, request: IdempotentRequest, sleep: Sleep
    ) -> IdempotencyLock | StoredResponse:
        """Polls. Between two polls nothing is held, in particular no connection."""
        for _ in range(POLLS_MAX):
            now = self.clock()
            found = await self.responses.begin(request, self.new_id(), now, now + self.retention)
            if found is not None:
                return found
            await sleep(POLL_INTERVAL_S)
        raise Unavailable("The same request is still in progress; try again")


@dataclass(frozen=True, slots=True)
class DeleteExpiredResponses:
    """Deletes the stored responses whose retention has ended."""

    responses: IdempotencyStore
    clock: Clock

    async def __call__(self) -> int:
        """The number of deleted responses. Raises Unavailable; earlier batches stay deleted."""
        return await run_in_batches(lambda: self.responses.delete_expired(self.clock()))
