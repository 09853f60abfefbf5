"""Writes that have an effect once, however often they are sent."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from application.ports import Attempt, Clock, IdempotencyLock, IdempotencyStore, NewId, Reply
from domain.errors import Unavailable

LOOK_EVERY_S: Final = 0.1
LOOKS_MAX: Final = 200  # so 20 s, which is longer than HELD: who waits for a dead one takes over
STEPS_MAX: Final = 1_000  # of one round of sweeping

type Pause = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass."""

type Write = Callable[[UUID], Awaitable[Reply]]
"""Makes the object of this id, or finds that it was made, and says what to answer."""


@dataclass(frozen=True, slots=True)
class RunIdempotently:
    """Does a write that wasn't done yet, and gives its answer again where it was."""

    replies: IdempotencyStore
    kept_for: timedelta
    clock: Clock
    new_id: NewId

    async def __call__(self, attempt: Attempt, write: Write, pause: Pause = asyncio.sleep) -> Reply:
        """The first reply to succeed; while another request is at it, waits for its reply.

        Raises what `write` raises, and isn't remembered then; Conflict where the key belongs to
        another request; Unavailable where the other one takes too long.
        """
        turn = await self._awaited(attempt, pause)
        if isinstance(turn, Reply):
            return turn
        try:
            reply = await write(turn.object_id)
        except Exception:
            with suppress(Unavailable):  # it runs out by itself
                await self.replies.release(attempt, turn, self.clock())
            raise
        try:
            return await self.replies.complete(attempt, turn, reply)
        except Unavailable:
            return reply  # it is done; a repeat finds the object by its id

    async def _awaited(self, attempt: Attempt, pause: Pause) -> IdempotencyLock | Reply:
        """Between two looks nothing is held, least of all a connection."""
        for _ in range(LOOKS_MAX):
            now = self.clock()
            found = await self.replies.begin(attempt, self.new_id(), now, now + self.kept_for)
            if found is not None:
                return found
            await pause(LOOK_EVERY_S)
        raise Unavailable("The same request is still in progress; try again")


@dataclass(frozen=True, slots=True)
class DeleteExpiredReplies:
    """Forgets the replies that have been kept for long enough."""

    replies: IdempotencyStore
    clock: Clock

    async def __call__(self) -> int:
        """How many were forgotten. Raises Unavailable; what went before stays gone."""
        swept = 0
        for _ in range(STEPS_MAX):
            gone = await self.replies.delete_expired(self.clock())
            swept += gone
            if not gone:
                break
        return swept
