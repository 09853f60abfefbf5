"""Idempotency keys: one row for each attempted write, with its response once there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.postgres.database.pool import (
    IN_PROJECT,
    Connection,
    Pool,
    affected_rows,
    translate_errors,
)
from adapters.postgres.database.statements.bounded_delete import delete_some
from adapters.postgres.database.tenants import ALL_TENANTS, within
from application.ports import (
    IDEMPOTENCY_LOCK_TTL,
    IdempotencyLock,
    IdempotentRequest,
    StoredResponse,
)
from domain.errors import Conflict, NotFound
from domain.ids import ProjectId

DELETED_REPLIES_MAX: Final = 2_000  # rows of one statement
ERASED_REPLIES_MAX: Final = 1_000  # rows of one statement, with their responses

_IS_SAME: Final = "known.request_hash = excluded.request_hash AND known.expires_at > $6"
# Claims the lock if the row is missing or expired, if its lock has run out, or if its response was
# erased.
CLAIM_REPLY: Final = f"""
INSERT INTO replies AS known
  (project_id, operation, key, request_hash, object_id, held_until, expires_at, target, has_text,
   begun_at)
VALUES ($1, $2, $3, $4, $5, $7, $8, $9, $10, $6)
ON CONFLICT (project_id, operation, key) DO UPDATE SET
  request_hash = excluded.request_hash,
  object_id = CASE WHEN {_IS_SAME} THEN known.object_id ELSE excluded.object_id END,
  erased_at = CASE WHEN {_IS_SAME} THEN known.erased_at END,
  target = CASE WHEN NOT ({_IS_SAME}) OR known.erased_at IS NULL THEN excluded.target END,
  status = NULL,
  body = NULL,
  has_text = excluded.has_text,
  held_until = excluded.held_until,
  expires_at = excluded.expires_at,
  begun_at = excluded.begun_at
WHERE known.expires_at <= $6
  OR (known.status IS NULL AND known.held_until <= $6
      AND (known.erased_at IS NULL OR known.request_hash = excluded.request_hash))
RETURNING object_id
"""
_OF_KEY: Final = f"{IN_PROJECT} AND operation = $2 AND key = $3"
# While an erasure is active, every response from before it counts as erased.
_IS_ERASING: Final = """
replies.status IS NOT NULL AND replies.has_text AND EXISTS (
    SELECT 1 FROM erasures AS e
    WHERE e.project_id = $1 AND e.owner IS NOT NULL AND e.requested_at >= replies.begun_at
)
"""
SELECT_REPLY: Final = f"""
SELECT request_hash, status, body, {_IS_ERASING} AS is_erasing FROM replies WHERE {_OF_KEY}
"""
# As CLAIM_REPLY, of a response that counts as erased. Citus takes no subquery in ON CONFLICT.
CLAIM_ERASED_REPLY: Final = f"""
UPDATE replies SET erased_at = coalesce(erased_at, $5), target = NULL, status = NULL, body = NULL,
  held_until = $6, expires_at = $7, has_text = $8, begun_at = $5
WHERE {_OF_KEY} AND request_hash = $4 AND {_IS_ERASING} RETURNING object_id
"""
IS_PROJECT_REMOVED: Final = "SELECT EXISTS (SELECT 1 FROM removals WHERE project_id = $1)"
# If the response was erased meanwhile, stores nothing and ends the lock.
STORE_REPLY: Final = f"""
UPDATE replies SET
  status = CASE WHEN erased_at IS NULL THEN coalesce(status, $5) END,
  body = CASE WHEN erased_at IS NULL THEN coalesce(body, $6) END,
  held_until = CASE WHEN erased_at IS NULL THEN held_until ELSE '-infinity' END
WHERE {_OF_KEY} AND object_id = $4 RETURNING status, body
"""
RELEASE_REPLY: Final = f"""
UPDATE replies SET held_until = $6
WHERE {_OF_KEY} AND object_id = $4 AND held_until = $5 AND status IS NULL
"""
# Both also mark the rows of requests that are being served: these store no response later. They
# lock rows, and find them by the same condition again. A join with the locked rows would compare
# each with each, if the table was nearly empty when it was analyzed.
# The lock of a request that was answered ends, so that a retry doesn't wait for it.
_ERASE: Final = """
UPDATE replies SET status = NULL, body = NULL, target = NULL, erased_at = now(),
  held_until = CASE WHEN status IS NULL THEN held_until ELSE '-infinity' END
"""
_IS_ERASED: Final = f"{IN_PROJECT} AND erased_at IS NULL AND has_text"
_OF_TARGETS: Final = f"{_IS_ERASED} AND target = ANY($2::text[])"
ERASE_REPLIES_OF_TARGETS: Final = f"""
WITH locked AS MATERIALIZED (
  SELECT 1 FROM replies WHERE {_OF_TARGETS} ORDER BY operation, key FOR UPDATE
)
{_ERASE} WHERE {_OF_TARGETS} AND (SELECT count(*) FROM locked) >= 0
"""
ERASE_SOME_REPLIES: Final = f"""
WITH locked AS MATERIALIZED (
  SELECT operation, key FROM replies WHERE {_IS_ERASED}
  ORDER BY operation, key LIMIT {ERASED_REPLIES_MAX} FOR UPDATE
), last AS MATERIALIZED (
  SELECT operation, key FROM locked ORDER BY operation DESC, key DESC LIMIT 1
)
{_ERASE} WHERE {_IS_ERASED}
  AND (operation, key) <= ((SELECT operation FROM last), (SELECT key FROM last))
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
        ours = within(self.pool, request.project)
        times, about = (now, locked_until, expires_at), (request.target, request.has_text)
        asked = (*place, request.request_hash, new, *times, *about)
        async with translate_errors():
            object_id = await ours.fetchval(CLAIM_REPLY, *asked)
            if object_id is not None:
                return IdempotencyLock(object_id, locked_until)
            known = await ours.fetchrow(SELECT_REPLY, *place)
            if known is None and await ours.fetchval(IS_PROJECT_REMOVED, request.project):
                raise NotFound("Project not found")
        if known is None:
            return None  # deleted just now: the next attempt claims it
        if known["request_hash"] != request.request_hash:
            raise Conflict("This idempotency key was sent with another request: use a new one")
        if known["is_erasing"]:
            again = (*place, request.request_hash, *times, request.has_text)
            async with translate_errors():
                object_id = await ours.fetchval(CLAIM_ERASED_REPLY, *again)
            # None: another request has claimed it meanwhile.
            return None if object_id is None else IdempotencyLock(object_id, locked_until)
        return None if known["status"] is None else StoredResponse(known["status"], known["body"])

    async def complete(
        self, request: IdempotentRequest, lock: IdempotencyLock, response: StoredResponse
    ) -> StoredResponse:
        place = (*_reply_key(request), lock.object_id)
        async with translate_errors():
            kept = await within(self.pool, request.project).fetchrow(
                STORE_REPLY, *place, response.status, response.body
            )
        if kept is None or kept["status"] is None:
            return response
        return StoredResponse(kept["status"], kept["body"])

    async def release(
        self, request: IdempotentRequest, lock: IdempotencyLock, now: datetime
    ) -> None:
        place = (*_reply_key(request), lock.object_id, lock.locked_until)
        async with translate_errors():
            await within(self.pool, request.project).execute(RELEASE_REPLY, *place, now)

    async def delete_expired(self, now: datetime) -> int:
        async with translate_errors():
            return affected_rows(
                await within(self.pool, ALL_TENANTS).execute(DELETE_EXPIRED_REPLIES, now)
            )


async def erase_replies(connection: Connection, project: ProjectId, targets: Sequence[str]) -> int:
    """Deletes the responses about these traces or sessions; returns how many rows changed."""
    sql = ERASE_REPLIES_OF_TARGETS
    return affected_rows(await connection.execute(sql, project, targets))


async def erase_some_replies(connection: Connection, project: ProjectId) -> tuple[int, bool]:
    """Deletes responses of the project; returns how many rows changed, and whether any are left."""
    gone = affected_rows(await connection.execute(ERASE_SOME_REPLIES, project))
    return gone, gone == ERASED_REPLIES_MAX


def _reply_key(request: IdempotentRequest) -> tuple[UUID, str, str]:
    return request.project, request.operation, request.key
