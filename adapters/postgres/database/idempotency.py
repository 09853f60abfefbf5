"""Idempotency keys: one row for each attempted write, with its response once there is one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.postgres.database.bounded_delete import delete_some
from adapters.postgres.database.pool import OF_PROJECT, Pool, affected_rows, translate_errors
from application.ports import (
    IDEMPOTENCY_LOCK_TTL,
    IdempotencyLock,
    IdempotentRequest,
    StoredResponse,
)
from domain.errors import Conflict, NotFound

DELETED_REPLIES_MAX: Final = 2_000  # rows of one statement

# Claims the lock if the row is missing or expired, or if its lock has run out.
CLAIM_REPLY: Final = """
INSERT INTO replies AS known
  (project_id, operation, key, request_hash, object_id, held_until, expires_at)
VALUES ($1, $2, $3, $4, $5, $7, $8)
ON CONFLICT (project_id, operation, key) DO UPDATE SET
  request_hash = excluded.request_hash,
  object_id = CASE
    WHEN known.request_hash = excluded.request_hash AND known.expires_at > $6
    THEN known.object_id ELSE excluded.object_id END,
  status = NULL,
  body = NULL,
  held_until = excluded.held_until,
  expires_at = excluded.expires_at
WHERE known.expires_at <= $6 OR (known.status IS NULL AND known.held_until <= $6)
RETURNING object_id
"""
_OF_KEY: Final = f"{OF_PROJECT} AND operation = $2 AND key = $3"
SELECT_REPLY: Final = f"SELECT request_hash, status, body FROM replies WHERE {_OF_KEY}"
IS_PROJECT_REMOVED: Final = "SELECT EXISTS (SELECT FROM removals WHERE project_id = $1)"
STORE_REPLY: Final = f"""
UPDATE replies SET status = coalesce(status, $5), body = coalesce(body, $6)
WHERE {_OF_KEY} AND object_id = $4 RETURNING status, body
"""
RELEASE_REPLY: Final = f"""
UPDATE replies SET held_until = $6
WHERE {_OF_KEY} AND object_id = $4 AND held_until = $5 AND status IS NULL
"""
# Across projects.
DELETE_EXPIRED_REPLIES: Final = delete_some(
    "replies", "expires_at <= $1", DELETED_REPLIES_MAX, skip_locked=True
)


@dataclass(frozen=True, slots=True)
class PostgresIdempotencyStore:
    pool: Pool

    async def begin(
        self, request: IdempotentRequest, new: UUID, now: datetime, expires_at: datetime
    ) -> IdempotencyLock | StoredResponse | None:
        place, locked_until = _reply_key(request), now + IDEMPOTENCY_LOCK_TTL
        asked = (*place, request.request_hash, new, now, locked_until, expires_at)
        async with translate_errors():
            object_id = await self.pool.fetchval(CLAIM_REPLY, *asked)
            if object_id is not None:
                return IdempotencyLock(object_id, locked_until)
            known = await self.pool.fetchrow(SELECT_REPLY, *place)
            if known is None and await self.pool.fetchval(IS_PROJECT_REMOVED, request.project):
                raise NotFound("Project not found")
        if known is None:
            return None  # deleted just now: the next attempt claims it
        if known["request_hash"] != request.request_hash:
            raise Conflict("This key was sent with another request")
        return None if known["status"] is None else StoredResponse(known["status"], known["body"])

    async def complete(
        self, request: IdempotentRequest, lock: IdempotencyLock, response: StoredResponse
    ) -> StoredResponse:
        place = (*_reply_key(request), lock.object_id)
        async with translate_errors():
            kept = await self.pool.fetchrow(STORE_REPLY, *place, response.status, response.body)
        return response if kept is None else StoredResponse(kept["status"], kept["body"])

    async def release(
        self, request: IdempotentRequest, lock: IdempotencyLock, now: datetime
    ) -> None:
        place = (*_reply_key(request), lock.object_id, lock.locked_until)
        async with translate_errors():
            await self.pool.execute(RELEASE_REPLY, *place, now)

    async def delete_expired(self, now: datetime) -> int:
        async with translate_errors():
            return affected_rows(await self.pool.execute(DELETE_EXPIRED_REPLIES, now))


def _reply_key(request: IdempotentRequest) -> tuple[UUID, str, str]:
    return request.project, request.operation, request.key
