"""Replies to repeated writes in memory."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from adapters.memory.store import KnownAttempt, MemoryStore
from application.ports import HELD, Attempt, IdempotencyLock, Reply
from domain.errors import Conflict, NotFound
from domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class MemoryReplies:
    store: MemoryStore

    async def begin(
        self, attempt: Attempt, new: UUID, now: datetime, expires_at: datetime
    ) -> IdempotencyLock | Reply | None:
        if attempt.project in self.store.removed:
            raise NotFound("Project not found")
        known = self.store.replies.get(_place(attempt))
        if known is not None and known.expires_at <= now:
            known = None
        is_same = known is not None and known.request_hash == attempt.request_hash
        if known is not None and (known.reply is not None or known.turn.locked_until > now):
            if not is_same:
                raise Conflict("This key was sent with another request")
            return known.reply
        object_id = known.turn.object_id if known is not None and is_same else new
        turn = IdempotencyLock(object_id, now + HELD)
        self.store.replies[_place(attempt)] = KnownAttempt(
            attempt.request_hash, turn, None, expires_at
        )
        return turn

    async def complete(self, attempt: Attempt, turn: IdempotencyLock, reply: Reply) -> Reply:
        known = self.store.replies.get(_place(attempt))
        if known is None or known.turn.object_id != turn.object_id:
            return reply
        kept = known.reply or reply
        self.store.replies[_place(attempt)] = replace(known, reply=kept)
        return kept

    async def release(self, attempt: Attempt, turn: IdempotencyLock, now: datetime) -> None:
        known = self.store.replies.get(_place(attempt))
        if known is not None and known.turn == turn and known.reply is None:
            released = replace(known, turn=replace(turn, locked_until=now))
            self.store.replies[_place(attempt)] = released

    async def delete_expired(self, now: datetime) -> int:
        expired = [place for place, one in self.store.replies.items() if one.expires_at <= now]
        for place in expired:
            del self.store.replies[place]
        return len(expired)


def _place(attempt: Attempt) -> tuple[ProjectId, str, str]:
    return attempt.project, attempt.operation, attempt.key
