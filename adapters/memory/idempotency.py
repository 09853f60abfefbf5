"""Replies to repeated writes in memory."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from adapters.memory.store import KnownAttempt, MemoryStore, delete_rows
from application.ports import (
    IDEMPOTENCY_LOCK_TTL,
    IdempotencyLock,
    IdempotentRequest,
    StoredResponse,
)
from domain.errors import Conflict, NotFound
from domain.ids import ProjectId


@dataclass(frozen=True, slots=True)
class MemoryIdempotencyStore:
    store: MemoryStore

    async def begin(
        self, request: IdempotentRequest, new: UUID, now: datetime, expires_at: datetime
    ) -> IdempotencyLock | StoredResponse | None:
        if request.project in self.store.removed:
            raise NotFound("Project not found")
        known = self.store.replies.get(_request_key(request))
        if known is not None and known.expires_at <= now:
            known = None
        is_same = known is not None and known.request_hash == request.request_hash
        if known is not None and (known.response is not None or known.lock.locked_until > now):
            if not is_same:
                raise Conflict("This key was sent with another request")
            return known.response
        object_id = known.lock.object_id if known is not None and is_same else new
        lock = IdempotencyLock(object_id, now + IDEMPOTENCY_LOCK_TTL)
        self.store.replies[_request_key(request)] = KnownAttempt(
            request.request_hash, lock, None, expires_at
        )
        return lock

    async def complete(
        self, request: IdempotentRequest, lock: IdempotencyLock, response: StoredResponse
    ) -> StoredResponse:
        known = self.store.replies.get(_request_key(request))
        if known is None or known.lock.object_id != lock.object_id:
            return response
        kept = known.response or response
        self.store.replies[_request_key(request)] = replace(known, response=kept)
        return kept

    async def release(
        self, request: IdempotentRequest, lock: IdempotencyLock, now: datetime
    ) -> None:
        known = self.store.replies.get(_request_key(request))
        if known is not None and known.lock == lock and known.response is None:
            released = replace(known, lock=replace(lock, locked_until=now))
            self.store.replies[_request_key(request)] = released

    async def delete_expired(self, now: datetime) -> int:
        return len(delete_rows(self.store.replies, lambda _, one: one.expires_at <= now))


def _request_key(request: IdempotentRequest) -> tuple[ProjectId, str, str]:
    return request.project, request.operation, request.key
