"""Repricings in Postgres: the port."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from adapters.postgres.database.advisory_locks import AdvisoryLock, lock_project
from adapters.postgres.database.columns import Column, Table, compile_reader
from adapters.postgres.database.pool import OF_PROJECT, Pool, translated
from adapters.postgres.database.removed_projects import check_not_removed, not_removed
from adapters.postgres.database.transactions import transaction
from adapters.postgres.pricing.recharge import charge, following
from adapters.postgres.tracing.edits import TraceEdits
from application.pricing.ports import REPRICED_SPANS_BATCH, REPRICINGS_KEPT_MAX
from domain.errors import Conflict, NotFound
from domain.ids import ProjectId
from domain.tracing.repricing import Repricing, RepricingReport, SpanPosition
from domain.tracing.usage import Pricing

_encoder: Final = msgspec.json.Encoder()
_report: Final = msgspec.json.Decoder(RepricingReport)
_position: Final = msgspec.json.Decoder(SpanPosition | None)


def _encode_position(position: SpanPosition | None) -> bytes | None:
    return None if position is None else _encoder.encode(position)


def _decode_position(text: bytes | None) -> SpanPosition | None:
    return None if text is None else _position.decode(text)


REPRICINGS: Final = Table(
    "repricings",
    ("project_id", "id"),
    (
        Column("project_id", "uuid"),
        Column("id", "uuid"),
        Column("started_after", "timestamptz"),
        Column("started_before", "timestamptz"),
        Column("models", "text[]", read=tuple),
        Column("is_dry", "boolean"),
        Column("place", "json", write=_encode_position, read=_decode_position),
        Column("found", "json", write=_encoder.encode, read=_report.decode),
        Column("created_at", "timestamptz"),
        Column("completed_at", "timestamptz"),
        Column("attempts", "int"),
        Column("error", "text"),
    ),
)
_row: Final = REPRICINGS.compile_row()
_repricing_of: Final = compile_reader(Repricing, REPRICINGS.fields_of(Repricing))
_SHOWN: Final = REPRICINGS.select()
READ: Final = f"SELECT {_SHOWN} FROM repricings WHERE {OF_PROJECT} AND id = $2"
LOCK: Final = f"{READ} FOR UPDATE"
IS_ONE_GOING: Final = f"""
SELECT EXISTS (SELECT FROM repricings WHERE {OF_PROJECT} AND completed_at IS NULL)
"""
INSERT: Final = f"""
INSERT INTO repricings ({_SHOWN}, held_until)
VALUES ({REPRICINGS.parameters()}, $9)
"""
FORGET: Final = f"""
DELETE FROM repricings WHERE {OF_PROJECT} AND id IN (
  SELECT id FROM repricings WHERE {OF_PROJECT} ORDER BY created_at DESC, id DESC
  OFFSET {REPRICINGS_KEPT_MAX}
)
"""
# Asked across projects, by whoever works: who waited longest goes first.
CLAIM: Final = f"""
WITH next AS MATERIALIZED (
  SELECT project_id, id FROM repricings
  WHERE completed_at IS NULL AND held_until <= $1 AND {not_removed("repricings")}
  ORDER BY held_until, project_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE repricings AS r SET held_until = $2, attempts = attempts + 1 FROM next
WHERE r.project_id = next.project_id AND r.id = next.id
RETURNING {REPRICINGS.select("r")}
"""
GO_ON: Final = f"""
UPDATE repricings SET place = $3, found = $4, completed_at = $5, held_until = $6, attempts = $7
WHERE {OF_PROJECT} AND id = $2
"""
END: Final = f"""
UPDATE repricings SET completed_at = $4, error = $5
WHERE {OF_PROJECT} AND id = $2 AND completed_at IS NULL AND attempts = $3
"""
RELEASE: Final = f"UPDATE repricings SET held_until = $3 WHERE {OF_PROJECT} AND id = $2"


@dataclass(frozen=True, slots=True)
class PostgresRepricings:
    """Spans are charged in turn with the other edits of this process."""

    pool: Pool
    edits: TraceEdits

    async def create(self, repricing: Repricing) -> Repricing:
        project = repricing.project_id
        async with transaction(self.pool) as connection:
            await lock_project(connection, AdvisoryLock.REPRICINGS, project)
            await check_not_removed(connection, project)
            known = await connection.fetchrow(READ, project, repricing.id)
            if known is not None:
                return _repricing_of(known)
            if await connection.fetchval(IS_ONE_GOING, project):
                raise Conflict("Another repricing of this project is under way: wait for its end")
            await connection.execute(INSERT, *_row(repricing))
            await connection.execute(FORGET, project)
        return repricing

    async def get(self, project: ProjectId, repricing: UUID) -> Repricing:
        async with translated():
            row = await self.pool.fetchrow(READ, project, repricing)
        if row is None:
            raise NotFound("Repricing not found")
        return _repricing_of(row)

    async def claim(self, now: datetime, until: datetime) -> Repricing | None:
        async with translated():
            row = await self.pool.fetchrow(CLAIM, now, until)
        return None if row is None else _repricing_of(row)

    async def step(
        self, repricing: Repricing, pricing: Pricing, now: datetime, until: datetime
    ) -> Repricing | None:
        project = repricing.project_id
        async with self.edits.transaction() as (connection, deltas):
            row = await connection.fetchrow(LOCK, project, repricing.id)
            if row is None or _repricing_of(row) != repricing or repricing.completed_at is not None:
                return None
            looked_at = await following(connection, repricing, REPRICED_SPANS_BATCH)
            found = [(one, one.cost_under(pricing)) for one in looked_at if repricing.selects(one)]
            if not repricing.is_dry:
                found = await charge(connection, project, found, pricing, deltas)
            found.sort(key=lambda one: one[0].place)
            after = repricing.after(looked_at, found, REPRICED_SPANS_BATCH, now)
            told = (
                _encode_position(after.place),
                _encoder.encode(after.found),
                after.completed_at,
                until,
                after.attempts,
            )
            await connection.execute(GO_ON, project, repricing.id, *told)
            return after

    async def release(self, repricing: Repricing, now: datetime) -> None:
        async with translated():
            await self.pool.execute(RELEASE, repricing.project_id, repricing.id, now)

    async def fail(self, failed: Repricing) -> None:
        told = (failed.attempts, failed.completed_at, failed.error)
        async with translated():
            await self.pool.execute(END, failed.project_id, failed.id, *told)
