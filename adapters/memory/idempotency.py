"""Replies to repeated writes in memory."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
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
        if known is not None and is_same and known.response is not None:
            if not (known.has_text and self._is_erasing(request.project, known.begun_at)):
                return known.response
            known = known.erased()
            known = replace(known, lock=replace(known.lock, locked_until=now))
        if known is not None and (
            known.response is not None or known.lock.locked_until > now or known.is_erased
        ):
            if not is_same:
                raise Conflict("This idempotency key was sent with another request: use a new one")
            if known.lock.locked_until > now:
                return known.response
        object_id = known.lock.object_id if known is not None and is_same else new
        lock = IdempotencyLock(object_id, now + IDEMPOTENCY_LOCK_TTL)
        is_erased = known is not None and is_same and known.is_erased
        target = None if is_erased else request.target
        self.store.replies[_request_key(request)] = KnownAttempt(
            request.request_hash,
            lock,
            None,
            expires_at,
            now,
            target,
            has_text=request.has_text,
            is_erased=is_erased,
        )
        return lock

    def _is_erasing(self, project: ProjectId, begun_at: datetime) -> bool:
        """Whether an erasure is active that was requested after `begun_at`."""
        active = [self.store.erasures[key] for key, _ in self.store.erasing.live()]
        return any(one.project_id == project and one.requested_at >= begun_at for one in active)

    async def complete(
        self, request: IdempotentRequest, lock: IdempotencyLock, response: StoredResponse
    ) -> StoredResponse:
        known = self.store.replies.get(_request_key(request))
        if known is None or known.lock.object_id != lock.object_id:
            return response
        if known.is_erased:
            ended = replace(known.lock, locked_until=datetime.min.replace(tzinfo=UTC))
            self.store.replies[_request_key(request)] = replace(known, lock=ended)
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
